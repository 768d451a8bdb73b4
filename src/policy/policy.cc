#include "policy/policy.h"

#include <algorithm>
#include <iterator>

#include "policy/policies.h"

namespace tensorcache {

namespace {

// The same order in both, alphabetical.
constexpr std::string_view kNames[] = {"fifo", "lru"};
constexpr std::unique_ptr<Policy> (*kMakers[])() = {make_fifo, make_lru};
static_assert(std::size(kNames) == std::size(kMakers));

}   // namespace

std::unique_ptr<Policy> make_policy(std::string_view name) {
  const auto* found = std::find(std::begin(kNames), std::end(kNames), name);
  return found == std::end(kNames) ? nullptr : kMakers[found - kNames]();
}

std::span<const std::string_view> policy_names() { return kNames; }

}   // namespace tensorcache
