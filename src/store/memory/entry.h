// A stored entry: its value and what the tier keeps of it, in 120 bytes.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "store/policy/policy.h"
#include "tensorcache/types.h"
#include "store/memory/entry_state.h"

namespace tensorcache::memory {

// When a value was stored and how long it lives, in one word: milliseconds in 40 bits, which reach
// 17 years either way, and a time to live of 22 bits in milliseconds, seconds, minutes or hours,
// the finest that can hold it, rounded down.
class Lifetime {
 public:
  using Ms = std::chrono::milliseconds;
  Lifetime() = default;
  Lifetime(std::chrono::steady_clock::time_point stored_at, Ms time_to_live) {
    stored_ = static_cast<std::uint64_t>(ms(stored_at)) & kStoredMask;
    if (time_to_live.count() == 0) return;
    std::uint64_t unit = 0;
    if (time_to_live.count() < 0) {   // born dead: a unit, and none of it
      unit_ = 1;
      return;
    }
    while (unit + 1 < kUnits.size() && time_to_live / kUnits[unit] > static_cast<std::int64_t>(kMaxUnits)) ++unit;
    const auto units = std::min(static_cast<std::uint64_t>(time_to_live / kUnits[unit]), kMaxUnits);
    unit_ = unit & 3;
    units_ = std::max<std::uint64_t>(units, 1) & kMaxUnits;
  }
  // Modulo the 40 bits, whatever the clock's epoch; of what is older than they reach, the most.
  [[nodiscard]] Ms age(std::chrono::steady_clock::time_point now) const {
    const std::uint64_t difference = (static_cast<std::uint64_t>(ms(now)) - stored_) & kStoredMask;
    return Ms(static_cast<std::int64_t>(difference << 24) >> 24);
  }
  static Ms clamped(Ms age) { return std::clamp(age, Ms(-kReach), Ms(kReach)); }
  [[nodiscard]] Ms time_to_live() const {   // 0: for ever
    return units_ == 0 ? Ms(unit_ == 0 ? 0 : -1) : kUnits[unit_] * static_cast<std::int64_t>(units_);
  }
  // Of one that does not live for ever.
  [[nodiscard]] bool over(std::chrono::steady_clock::time_point now) const { return age(now) >= time_to_live(); }

 private:
  static constexpr std::int64_t kReach = std::int64_t{1} << 38;   // leaves as much again for the time it stays
  static constexpr std::uint64_t kStoredMask = (std::uint64_t{1} << 40) - 1, kMaxUnits = (std::uint64_t{1} << 22) - 1;
  static constexpr std::array<Ms, 4> kUnits{Ms(1), Ms(1000), Ms(60'000), Ms(3'600'000)};
  static std::int64_t ms(std::chrono::steady_clock::time_point time) { return std::chrono::floor<Ms>(time.time_since_epoch()).count(); }
  std::uint64_t stored_ : 40 = 0, unit_ : 2 = 0, units_ : 22 = 0;
};

// What finding, pinning and reading a value needs. With the first fields of PolicyNode, which
// follow, it is one cache line.
struct EntryHead {
  std::array<std::uint8_t, 24> rest_of_key{};   // behind the eight bytes that are PolicyNode::hash
  EntryState state;
  std::atomic<std::uint32_t> hits{0};   // by whoever found it; two at once may count as one
  std::uint32_t slack_bytes = 0;        // what it takes beside its value
};

// Everything without a comment is set before the entry is published and constant then. The block of
// memory: the value, or for a large one the address of its pooled buffer, then the entry, which
// begins on a cache line.
struct Entry : EntryHead, policy::PolicyNode {
  std::uint64_t owner = 0;
  Lifetime lifetime;

  void set_key(const Key& key) {
    std::memcpy(&hash, key.bytes.data(), sizeof hash);
    std::memcpy(rest_of_key.data(), key.bytes.data() + sizeof hash, rest_of_key.size());
  }
  [[nodiscard]] Key key() const {
    Key key;
    std::memcpy(key.bytes.data(), &hash, sizeof hash);
    std::memcpy(key.bytes.data() + sizeof hash, rest_of_key.data(), rest_of_key.size());
    return key;
  }
  [[nodiscard]] bool has_key(const Key& key) const {
    return std::memcmp(&hash, key.bytes.data(), sizeof hash) == 0 &&
           std::memcmp(rest_of_key.data(), key.bytes.data() + sizeof hash, rest_of_key.size()) == 0;
  }
  [[nodiscard]] std::uint64_t value_bytes() const { return charge_bytes - slack_bytes; }
  [[nodiscard]] bool has(std::uint64_t flags) const { return state.has(flags); }
  [[nodiscard]] Entry* above() const { return static_cast<Entry*>(parent); }   // holds a child reference, until this entry is freed
};
static_assert(sizeof(EntryHead) == 40 && offsetof(policy::PolicyNode, parent) == 24 && sizeof(Entry) == 120);

}   // namespace tensorcache::memory
