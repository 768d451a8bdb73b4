// Which value goes first. One small file for each policy, found by name; the cache and the
// simulator run the same code.
//
// A policy orders nodes and never sees keys or bytes. Whether a node may go is not its business:
// the owner takes the next one with pop() and, when that one cannot go yet (pinned, or others are
// chained behind it), keeps it aside and gives it back with restore() once it can. So no search
// ever passes the same obstacle twice.
//
// Threads: none of its own; the owner holds a lock around every call. Cost: O(1) or O(log n)
// amortized; a pop() passes over at most kMaxChances used nodes, then it takes the next one. No
// throw: where a policy has no memory to remember something, it goes without.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "store/policy/memory_account.h"
#include "tensorcache/types.h"

namespace tensorcache::policy {

// Of nodes that a single pop() spares because they were used: some hundred microseconds. A scan of
// a million would take 0.1 s under the owner's lock.
inline constexpr std::size_t kMaxChances = 2048;

// One value, as a policy sees it. Lives inside the owner's entry and must stay where it is while a
// policy holds it.
struct PolicyNode {
  std::uint64_t hash = 0;   // of its key: how a policy knows again what it gave up
  std::uint64_t charge_bytes = 0;
  std::uint32_t tick = 0;      // by the owner's clock, of its last use; the owner's too, and first for its sake: see tier/entry.h
  std::uint32_t used_at = 0;   // the policy's own, down to `age`
  union {
    PolicyNode* prev = nullptr;
    std::int64_t until;   // Retention's, of a node that it keeps; then `place` is its own too
  };
  union {
    PolicyNode* next = nullptr;
    std::uint64_t place;
  };
  std::uint32_t uses = 0;
  std::uint8_t queue = 0, age = 0;
  std::uint8_t band = 0;          // Retention's
  Kind kind : 4 = Kind::kOther;   // the owner's, from here on
  std::uint8_t shift : 4 = 0;     // see tier/layout.h
  float cost_seconds = 1;         // of computing it again
  std::uint32_t source = 0;       // no policy's business
  PolicyNode* parent = nullptr;   // what it is chained behind, which lives as long as it does; null: nothing

  // `tick` may be written while a policy reads it.
  [[nodiscard]] std::uint32_t last_use() const { return std::atomic_ref(const_cast<std::uint32_t&>(tick)).load(std::memory_order_relaxed); }
  void set_last_use(std::uint32_t now) { std::atomic_ref(tick).store(now, std::memory_order_relaxed); }
};

// A request for a chain of values, as far as it is known when they are touched and inserted.
struct RequestTraits {
  std::uint64_t values = 0, hits = 0;   // of the chain; its leading run that was there
  std::uint64_t output_tokens = 0;
};

class Policy {
 public:
  virtual ~Policy() = default;
  // Where to take memory for what grows with the cache; said before anything else, if at all.
  virtual void use_memory(MemoryAccount& account) { static_cast<void>(account); }
  // Gives such memory back as far as it can: what it remembers of nodes that it does not hold, and
  // room for more of those that it does.
  virtual void shed() {}
  // What is touched right after this, from the last value to the first, is the run that this
  // request found.
  virtual void begin(const RequestTraits& request) { static_cast<void>(request); }
  // That run is over, though fewer may have been touched than it found: what is touched next does
  // not belong to it.
  virtual void end_run() {}
  // The budget, at first and whenever it changes.
  virtual void resize(std::uint64_t capacity_bytes) { static_cast<void>(capacity_bytes); }
  // Room is going to be made for this node, which is not held; insert() may follow, or not. For
  // those that say they want to know.
  [[nodiscard]] virtual bool wants_announcements() const { return false; }
  virtual void announce(const PolicyNode& node) { static_cast<void>(node); }
  // Whether a node is worth what would have to go for it, asked of those that select at all. If
  // not, it counts as used, and what is chained behind it cannot be there either.
  [[nodiscard]] virtual bool selects() const { return false; }
  [[nodiscard]] virtual bool admits(const PolicyNode& node) {
    static_cast<void>(node);
    return true;
  }
  // Whether it looks for itself, when a node's turn comes, at when that was used last: then the
  // owner may leave touch() out and only note the tick. May change with every call.
  [[nodiscard]] virtual bool reads_ticks() const { return false; }
  // Takes a new node in.
  virtual void insert(PolicyNode& node) = 0;
  // A node it holds was used again.
  virtual void touch(PolicyNode& node) = 0;
  // Lets go of a node it holds, for another reason than being its turn.
  virtual void erase(PolicyNode& node) = 0;
  // Lets go of the node whose turn it is; null when it holds none.
  [[nodiscard]] virtual PolicyNode* pop() = 0;
  // Takes back a popped node, unused since: its turn is still the next.
  virtual void restore(PolicyNode& node) = 0;
  // A node it holds is said not to be used again: its turn is the next.
  virtual void demote(PolicyNode& node) {
    erase(node);
    restore(node);
  }
};

struct PolicyInfo {
  std::string_view name;
  bool fits_prefixes;         // whether it may decide over blocks of prefixes
  std::string_view summary;   // a line for people
  std::unique_ptr<Policy> (*make)();
};

// All there are, in alphabetical order.
[[nodiscard]] std::span<const PolicyInfo> policies();
// The one of that name; null if there is none.
[[nodiscard]] const PolicyInfo* find_policy(std::string_view name);
[[nodiscard]] std::unique_ptr<Policy> make_policy(std::string_view name);

}   // namespace tensorcache::policy
