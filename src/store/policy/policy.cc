#include "store/policy/policy.h"

#include <algorithm>
#include <iterator>

#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

constexpr PolicyInfo kPolicies[] = {
    {"adaptive", true, "learns when blocks of each kind come back; never does worse than lru for long", make_adaptive},
    {"arc", false, "adaptive replacement: recency against frequency, balanced by what was missed", make_arc},
    {"auto", true, "adaptive for blocks of prefixes, guarded for all else, each with the share lru would give it", make_auto},
    {"clock", true, "second chance: first in, first out, but what was used since stays once more", make_clock},
    {"fifo", true, "first in, first out: use does not matter", make_fifo},
    {"gdsf", false, "greedy dual size frequency: what saves least for its bytes goes first", make_gdsf},
    {"guarded", false, "whichever of gdsf, s3fifo and lru has saved the most seconds lately", make_guarded},
    {"lfu", false, "least frequently used: keeps old favourites for ever", make_lfu},
    {"lru", true, "least recently used, of a prefix the last block first", make_lru},
    {"s3fifo", false, "three queues: what is not used again soon leaves through a small one", make_s3fifo},
    {"sieve", false, "a hand that passes over what was used; new values stand in front of it", make_sieve},
    {"wtinylfu", false, "a small window, and a frequency sketch that says what may pass on from it", make_wtinylfu},
};

}   // namespace

std::span<const PolicyInfo> policies() { return kPolicies; }

const PolicyInfo* find_policy(std::string_view name) {
  const auto* found = std::find_if(std::begin(kPolicies), std::end(kPolicies), [&](const PolicyInfo& info) { return info.name == name; });
  return found == std::end(kPolicies) ? nullptr : found;
}

std::unique_ptr<Policy> make_policy(std::string_view name) {
  const PolicyInfo* info = find_policy(name);
  return info == nullptr ? nullptr : info->make();
}

}   // namespace tensorcache::policy
