#include "store/policy/policies.h"

#include <algorithm>
#include <iterator>

namespace tensorcache::policy {

namespace {

constexpr PolicyInfo kPolicies[] = {
    {"adaptive", true, "learned: blocks least likely to be reused; follows lru while lru does better", make_adaptive},
    {"arc", false, "ARC: recency and frequency lists, balanced by hits in ghost lists", make_arc},
    {"auto", true, "adaptive for prefix blocks, guarded for other entries; each has the share lru would give it", make_auto},
    {"clock", true, "CLOCK (second chance): FIFO order, but entries used since get another round", make_clock},
    {"fifo", true, "FIFO: the oldest entry", make_fifo},
    {"gdsf", false, "GDSF: lowest cost x frequency / size", make_gdsf},
    {"guarded", false, "follows the one of gdsf, s3fifo and lru that saved most seconds recently", make_guarded},
    {"lfu", false, "LFU: the least frequently used entry; frequencies do not age", make_lfu},
    {"lru", true, "LRU: the least recently used entry", make_lru},
    {"s3fifo", false, "S3-FIFO: entries not reused while in a small probationary queue", make_s3fifo},
    {"sieve", false, "SIEVE: the hand evicts the first unvisited entry", make_sieve},
    {"wtinylfu", false, "W-TinyLFU: admission by a frequency sketch against the eviction candidate", make_wtinylfu},
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
