// The contract of a lower tier: it receives copies of values (write-behind) and returns them after
// a miss in memory.
//
// store/cache holds an ordered list of lower tiers and applies the rules once: lookup order,
// write-behind, promotion, removal from every tier. A new tier (Redis, a peer) is one class that
// implements this, and one line where the list is made (Cache's constructor).
//
// THREADS: every member may be called from any thread, but nothing is stored or removed after
// close().
// ERRORS: a failing tier causes misses and counts them. Only constructors throw, except
// std::bad_alloc, which changes nothing.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tensorcache/types.h"

namespace tensorcache::tier {

// Where a value to be stored comes from.
//
// THREADS: all members from any thread. REQUIRES: the caller holds no lock of the tier.
class Origin {
 public:
  Origin() = default;
  Origin(const Origin&) = delete;
  Origin& operator=(const Origin&) = delete;
  virtual ~Origin() = default;

  // RETURNS true if the value was removed or replaced, or has expired: a tier that drops it loses
  // nothing.
  [[nodiscard]] virtual bool is_gone() const noexcept = 0;
  // Takes the value back from a tier that cannot write it now: the device does not work, or the
  // value's parent was taken back. It is put again when there is room. RETURNS false if there is no
  // point in that: the value is lost.
  [[nodiscard]] virtual bool take_back() const noexcept = 0;
};

// kUrgent: part of the queue is kept free for it.
enum class Urgency : std::uint8_t { kNormal, kUrgent };

// A value to be stored.
struct Value {
  Key key;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> holder;   // keeps `bytes` and `origin` alive
  const Origin* origin = nullptr;       // null: nothing is known of it
  Kind kind = Kind::kOther;
  Urgency urgency = Urgency::kNormal;
  std::uint64_t owner = 0, source = 0;
  std::optional<Key> parent;
  std::int64_t created_unix_ms = 0, expires_unix_ms = 0;   // expires: 0: never
};

// What a tier knows of a value before reading it.
struct Found {
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0, source = 0;
  std::size_t value_bytes = 0;
  std::optional<Key> parent;
};

// Identifies the stored copy that was read: its key and times as stored, and a place that only the
// tier interprets.
struct Copy {
  Key key;
  std::int64_t created_unix_ms = 0, expires_unix_ms = 0;
  std::array<std::uint32_t, 3> place{};
};

// kUnknown: the tier does not know yet, for example while it recovers after the start.
enum class Presence : std::uint8_t { kNotStored, kStored, kUnknown };

// RETURNS the memory to read the i-th value into. A span of another size than Found::value_bytes
// ends the read.
using Reserve = std::function<std::span<std::byte>(std::size_t i, const Found& found)>;
// kMoved: holds() is false now; the tier looks the key up again.
enum class Verdict : std::uint8_t { kTaken, kMoved, kStop };
using Accept = std::function<Verdict(std::size_t i, const Copy& copy)>;

enum class ReadEnd : std::uint8_t {
  kAll,
  kNotStored,   // the next key is not stored, or it expired
  kStopped,     // Reserve or Accept stopped the read
  kFailed,      // the next value is unreadable or damaged; the tier forgot it
};
struct ReadResult {
  std::size_t accepted = 0;
  ReadEnd end = ReadEnd::kAll;
};

// kFull: the queue is full, and empties with time. kBroken: the device does not work; it may again.
// kNever: the value is too large for the tier, or the tier is closed.
enum class Room : std::uint8_t { kFree, kFull, kBroken, kNever };

class LowerTier {
 public:
  LowerTier() = default;
  LowerTier(const LowerTier&) = delete;
  LowerTier& operator=(const LowerTier&) = delete;
  virtual ~LowerTier() = default;

  // Lookups, without I/O.
  [[nodiscard]] virtual Presence presence(const Key& key) const = 0;
  [[nodiscard]] bool contains(const Key& key) const { return presence(key) == Presence::kStored; }
  // RETURNS true if the value is stored or queued.
  [[nodiscard]] virtual bool knows(const Key& key) const = 0;
  // RETURNS true if a child of the key is stored or queued.
  [[nodiscard]] virtual bool has_children(const Key& key) const = 0;
  // RETURNS the number of leading keys of the chain that are stored.
  [[nodiscard]] virtual std::size_t peek(std::span<const Key> chain) const = 0;
  [[nodiscard]] virtual std::uint64_t bytes_of(std::span<const Key> keys) const = 0;
  // RETURNS the stored chain that ends with `key`, beginning with its first value; empty if the key
  // is not stored.
  [[nodiscard]] virtual std::vector<Key> chain_of(const Key& key) const = 0;
  // RETURNS the estimated time of a read of that size, from recent reads; nothing while unknown.
  [[nodiscard]] virtual std::optional<double> read_seconds(std::uint64_t bytes) const = 0;

  // Reads the leading run of `keys` that is stored and valid, in order. Waits for the device.
  virtual ReadResult read(std::span<const Key> keys, const Reserve& reserve, const Accept& accept) = 0;
  // RETURNS true if the key's value is still this copy: not removed, replaced or moved since it was
  // read.
  [[nodiscard]] virtual bool holds(const Key& key, const Copy& copy) const = 0;
  // Copies the first bytes of a value, as many as fit, without verifying the whole. RETURNS their
  // number; nothing if the value is not stored or cannot be read.
  [[nodiscard]] virtual std::optional<std::size_t> read_head(const Key& key, std::span<std::byte> head) const = 0;

  // Queues a value; never waits. RETURNS false if it was dropped and counted: queue full, device
  // broken, or value too large.
  virtual bool put(Value value) = 0;
  // RETURNS what a put() of that size would do now.
  [[nodiscard]] virtual Room room(std::uint64_t value_bytes, Urgency urgency) const = 0;
  // Back-pressure for urgent values: waits while room(value_bytes, kUrgent) is kFull. RETURNS true
  // if it is kFree. REQUIRES: no lock of the cache is held.
  virtual bool wait_for_queue(std::uint64_t value_bytes, std::chrono::milliseconds time) const = 0;
  // Sets what want_room() causes to be called, on a thread of the tier. After an exception it is
  // called again later. REQUIRES: called once, before anything is stored.
  virtual void when_room(std::function<void()> call) = 0;
  // Causes one call when the device works and what was queued until now was written. Not after
  // close().
  virtual void want_room() noexcept = 0;
  // Forgets the value and its descendants at once.
  virtual bool remove(const Key& key) = 0;
  // Back-pressure for remove(): waits while too many removals are queued and the device works.
  // REQUIRES: no lock is held.
  virtual bool wait_for_room(std::chrono::milliseconds time) const = 0;
  // Deletes the selected values and their descendants. `meanwhile` is called without a lock once
  // none of them is found here any more; values put before it returns are deleted, too. RETURNS the
  // number of deleted values.
  virtual std::uint64_t clear(const Selection& what, const std::function<void()>& meanwhile) = 0;

  // Waits until the values stored before the start are visible. RETURNS false on timeout.
  virtual bool wait_ready(std::chrono::milliseconds time) const = 0;
  // Calls `done` once all earlier puts and removals are durable (true) or were dropped (false). On
  // a thread of the tier. Values that were taken back (Origin) do not count; if the device does not
  // work, the answer is false.
  virtual void when_written(std::function<void(bool)> done) = 0;
  // Waits for the same. RETURNS false on timeout, too.
  virtual bool flush(std::chrono::milliseconds time) = 0;
  // Closes the tier. RETURNS false if a removed or replaced value may be served after the next
  // start. A second call returns the same result.
  virtual bool close(std::chrono::milliseconds time) = 0;
  // Tells the tier the memory tier's new capacity; its index may use a share of it.
  virtual void follow_memory(std::uint64_t capacity_bytes) = 0;
};

}   // namespace tensorcache::tier
