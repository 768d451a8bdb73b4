// One stored value and what the tier knows of it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "policy/policy.h"
#include "tensorcache/cache.h"

namespace tensorcache::detail {

// One 64-bit word holds all that decides whether an entry may be freed: how many handles pin it, how many entries are
// chained behind it, and whether it is gone from the index. Whoever takes the last reference of a gone entry frees it.
inline constexpr std::uint64_t kPin = 1;
inline constexpr std::uint64_t kKid = std::uint64_t{1} << 32;
inline constexpr std::uint64_t kParked = std::uint64_t{1} << 62;   // was the policy's choice but could not go then
inline constexpr std::uint64_t kGone = std::uint64_t{1} << 63;     // not in the index: never served again
inline constexpr std::uint64_t kReferences = kParked - 1;          // pins and kids

enum class Mark : std::uint8_t { kNone, kKeep, kForget };   // scratch of a walk that holds every shard

// Who may read and write a field:
//   set before the entry is published, constant then   key, parent, data, value_bytes, owner, ... (no comment)
//   [shard]    under the mutex of its shard
//   [policy]   under the tier's policy mutex
// The value follows the entry in the same block of memory, or lies in a pooled buffer if it is large.
struct alignas(64) Entry : PolicyNode {
  Key key;
  std::atomic<std::uint64_t> state{0};
  Entry* next = nullptr;     // [shard] in its bucket; then in a list of garbage
  Entry* parent = nullptr;   // holds a kid reference, until this entry is freed
  std::byte* data = nullptr;
  std::uint64_t value_bytes = 0;
  std::uint64_t buffer_bytes = 0;       // of the pooled buffer; 0: the value is in this block
  std::atomic<std::uint64_t> tick{0};   // of its last use; written [policy]
  std::uint64_t hits = 0;               // [shard]
  std::uint64_t owner = 0;
  std::chrono::steady_clock::time_point stored_at{};
  std::chrono::milliseconds time_to_live{0};
  bool chained = false;      // has a parent; a draft's may not be stored yet
  bool linked = false;       // [policy] the policy holds it
  Mark mark = Mark::kNone;   // [all shards]
  std::uint32_t source = 0;

  [[nodiscard]] bool expired(std::chrono::steady_clock::time_point now) const { return time_to_live.count() != 0 && age(now) >= time_to_live; }
  [[nodiscard]] std::chrono::milliseconds age(std::chrono::steady_clock::time_point now) const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now - stored_at);
  }
};
static_assert(sizeof(Entry) == 192, "three cache lines; every stored value pays for them");

}   // namespace tensorcache::detail
