// Values and questions for the writing thread, in the order of the calls, with their keys. A value
// counts until it is written or dropped, including while it is being written.
//
// THREADS: none of its own; the disk tier holds its mutex around every call.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <unordered_map>

#include "store/disk/tier_state.h"
#include "tensorcache/key.h"

namespace tensorcache::disk {

struct Write {   // a value, or a question
  Value value;
  std::uint64_t number = 0;
  bool forgotten = false;              // removed before it was written
  std::function<void(bool)> written;   // set: a question, no value
};

class WriteQueue {
 public:
  using Writes = std::list<Write>;
  static constexpr std::size_t kMaxWrites = 65'536;
  explicit WriteQueue(std::uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // Urgent values may exceed the limits by an eighth.
  [[nodiscard]] bool accepts(std::uint64_t value_bytes, Urgency urgency) const {
    const std::uint64_t more = urgency == Urgency::kUrgent ? 1 : 0;
    return waiting_.size() < kMaxWrites + more * (kMaxWrites / 8) && bytes_ + value_bytes <= max_bytes_ + more * (max_bytes_ / 8);
  }
  // Appends the value of `node`. Calls `number` when nothing else can fail, with true if a value
  // with an expiry time is queued under the key; it returns the write's number. Strong exception
  // guarantee, also if `number` throws.
  template <class Number>
  void put(Writes& node, const Number& number) {
    Queued* queued = nullptr;
    std::uint32_t* children = nullptr;
    prepare(node.front().value, &queued, &children);
    try {
      node.front().number = number(queued->count > 0 && queued->expires);
    } catch (...) {
      forget_unused(node.front().value);
      throw;
    }
    commit(node, queued, children);
  }
  void ask(Writes& node, std::uint64_t number) noexcept;

  // RETURNS true if a value of this key (or with this parent) is queued or being written.
  [[nodiscard]] bool contains(const Key& key) const { return queued_.contains(key); }
  [[nodiscard]] bool has_children(const Key& key) const { return children_.contains(key); }
  // RETURNS: the number of the key's last value; 0 if there is none.
  [[nodiscard]] std::uint64_t last_number(const Key& key) const;
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::uint64_t max_bytes() const { return max_bytes_; }

  [[nodiscard]] bool empty() const { return waiting_.empty(); }
  // REQUIRES: the queue is not empty.
  [[nodiscard]] std::uint64_t first_number() const { return waiting_.front().number; }
  // Moves the first write to the end of `to`. RETURNS: its bytes.
  std::uint64_t take(Writes& to) noexcept;
  void take_all(Writes& to) noexcept { to.splice(to.end(), waiting_); }
  // RETURNS the writes that wait.
  [[nodiscard]] Writes& waiting() { return waiting_; }
  // Ends the accounting of a value that was written or dropped: key and bytes.
  void done(const Write& write) noexcept;

 private:
  struct Queued {   // values of one key
    std::uint32_t count = 0;
    std::uint64_t last = 0;   // number of the last one
    bool expires = false;     // the last one expires
  };
  void prepare(const Value& value, Queued** queued, std::uint32_t** children);
  void forget_unused(const Value& value) noexcept;
  void commit(Writes& node, Queued* queued, std::uint32_t* children) noexcept;

  const std::uint64_t max_bytes_;
  Writes waiting_;
  std::uint64_t bytes_ = 0;
  std::unordered_map<Key, Queued> queued_;
  std::unordered_map<Key, std::uint32_t> children_;   // number of children, by parent
};

}   // namespace tensorcache::disk
