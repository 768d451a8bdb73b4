// The contract of a tier below the memory: it takes copies of values write-behind, and gives them back after a miss.
//
// store/cache holds an ordered list of these and applies the rules once: look-up order, write-behind, promotion, removal from every tier.
// A new tier (Redis, a peer) is one class that implements this, and one line where the list is made (Cache's constructor).
//
// THREADS: every member may be called from any thread, but nothing is stored or removed after close().
// A tier that fails is a miss and a counter: no member but the constructor throws, except std::bad_alloc, which leaves everything as it was.
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

// A value to store.
struct Value {
  Key key;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> holder;   // keeps `bytes` alive
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0, source = 0;
  std::optional<Key> parent;
  std::int64_t created_unix_ms = 0, expires_unix_ms = 0;   // expires: 0: never
};

// What is known of a value before it is read.
struct Found {
  Kind kind = Kind::kOther;
  std::uint64_t owner = 0, source = 0;
  std::size_t value_bytes = 0;
  std::optional<Key> parent;
};

// Which stored copy of a value was read: its key and times as they are stored, and a place that means something to its tier only.
struct Copy {
  Key key;
  std::int64_t created_unix_ms = 0, expires_unix_ms = 0;
  std::array<std::uint32_t, 3> place{};
};

// kUnknown: what is stored is not known yet, as while a directory is being read after the start.
enum class Presence : std::uint8_t { kNotStored, kStored, kUnknown };

// RETURNS where to read the i-th value to. A span of another size than Found::value_bytes ends the read.
using Reserve = std::function<std::span<std::byte>(std::size_t i, const Found& found)>;
// kMoved: holds() is false by now; the tier looks the key up again.
enum class Verdict : std::uint8_t { kTaken, kMoved, kStop };
using Accept = std::function<Verdict(std::size_t i, const Copy& copy)>;

enum class ReadEnd : std::uint8_t {
  kAll,
  kNotStored,   // the next key is not stored, or no longer; or it expired
  kStopped,     // Reserve or Accept said so
  kFailed,      // the next value cannot be read or does not check out; the tier forgot it
};
struct ReadResult {
  std::size_t accepted = 0;
  ReadEnd end = ReadEnd::kAll;
};

class LowerTier {
 public:
  LowerTier() = default;
  LowerTier(const LowerTier&) = delete;
  LowerTier& operator=(const LowerTier&) = delete;
  virtual ~LowerTier() = default;

  // Look-ups. Without I/O.
  [[nodiscard]] virtual Presence presence(const Key& key) const = 0;
  [[nodiscard]] bool contains(const Key& key) const { return presence(key) == Presence::kStored; }
  // Whether it is stored, or waits to be.
  [[nodiscard]] virtual bool knows(const Key& key) const = 0;
  // Whether a value that is stored, or waits to be, is chained behind it.
  [[nodiscard]] virtual bool has_children(const Key& key) const = 0;
  // RETURNS how many leading keys of the chain are stored.
  [[nodiscard]] virtual std::size_t peek(std::span<const Key> chain) const = 0;
  [[nodiscard]] virtual std::uint64_t bytes_of(std::span<const Key> keys) const = 0;
  // RETURNS the stored chain that ends with `key`, from its first value; empty if the key is not stored.
  [[nodiscard]] virtual std::vector<Key> chain_of(const Key& key) const = 0;
  // RETURNS how long reading so much takes, by what reads took lately; nothing while that is not known.
  [[nodiscard]] virtual std::optional<double> read_seconds(std::uint64_t bytes) const = 0;

  // Reads the leading run of `keys` that is stored and checks out, in order. Waits for the device.
  virtual ReadResult read(std::span<const Key> keys, const Reserve& reserve, const Accept& accept) = 0;
  // Whether the key's value is still this copy: not removed, replaced or moved since it was read.
  [[nodiscard]] virtual bool holds(const Key& key, const Copy& copy) const = 0;
  // Copies the first bytes of a value, as many as fit, without checking the whole. RETURNS how many; nothing: it is not stored or cannot be
  // read.
  [[nodiscard]] virtual std::optional<std::size_t> read_head(const Key& key, std::span<std::byte> head) const = 0;

  // Queues a value. Never waits. RETURNS false if it was dropped (queue full, device broken, too large), which is counted.
  virtual bool put(Value value) = 0;
  // Whether a put() of so many bytes would be queued now.
  [[nodiscard]] virtual bool accepts(std::uint64_t value_bytes) const = 0;
  // Forgets the value at once, and what is chained behind it.
  virtual bool remove(const Key& key) = 0;
  // Back-pressure for remove(): waits while too many removals wait and the device works. REQUIRES that no lock is held.
  virtual bool wait_for_room(std::chrono::milliseconds time) const = 0;
  // Forgets what is selected, and what is chained behind it. `meanwhile` is called once nothing of it is found here any more, with no lock
  // held; what is put before it returns is cleared too. RETURNS how many values went.
  virtual std::uint64_t clear(const Selection& what, const std::function<void()>& meanwhile) = 0;

  // Waits until what was stored before the start is visible. RETURNS false if that takes longer.
  virtual bool wait_ready(std::chrono::milliseconds time) const = 0;
  // Calls `done` once everything that was put or removed before is durable (true) or was given up (false). On a thread of the tier's.
  virtual void when_written(std::function<void(bool)> done) = 0;
  // Waits for that. RETURNS false as well if it takes longer.
  virtual bool flush(std::chrono::milliseconds time) = 0;
  // Ends the tier. RETURNS false if a value that was removed or replaced may be served after the next start. Called again, it gives the same
  // answer.
  virtual bool close(std::chrono::milliseconds time) = 0;
  // The memory tier's new capacity, of which this tier's index may take a share.
  virtual void follow_memory(std::uint64_t capacity_bytes) = 0;
};

}   // namespace tensorcache::tier
