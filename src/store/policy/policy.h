// The interface of eviction policies. Each policy is one small file, found by name; the cache and
// the simulator run the same code.
//
// A policy orders nodes and never sees keys or bytes. It does not know whether a node can be
// evicted: the owner takes the next candidate with pop(), sets it aside if it is pinned or has
// children, and gives it back with restore() later. So no search passes the same obstacle twice.
//
// THREADS: none of its own; the owner holds a lock around every call.
// COST: O(1) or O(log n) amortized; a pop() skips at most kMaxChances used nodes.
// Policies do not throw: without memory for their history they go on with less of it.
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

// The maximum number of used nodes that one pop() skips: some hundred microseconds. A scan of a
// million nodes would take 0.1 s under the owner's lock.
inline constexpr std::size_t kMaxChances = 2048;

// An entry as seen by a policy. Part of the owner's entry.
// REQUIRES: its address does not change while a policy holds it.
struct PolicyNode {
  // The owner's part: constant while a policy holds the node, but for `tick`. The fields up to
  // `parent` share a cache line with the owner's: see store/memory/entry.h.
  std::uint64_t hash = 0;   // of its key: how a policy knows again what it gave up
  std::uint64_t charge_bytes = 0;
  std::uint32_t tick = 0;         // by the owner's clock, of its last use
  float cost_seconds = 1;         // of computing it again
  PolicyNode* parent = nullptr;   // what it is chained behind, which lives as long as it does; null: nothing
  std::uint32_t source = 0;       // no policy's business
  Kind kind : 4 = Kind::kOther;
  std::uint8_t shift : 4 = 0;   // see store/memory/layout.h

  // The policy's part: scratch of the one that holds the node, which names each field that it uses
  // by an accessor. A policy that holds nodes of others has fields of its own: Retention `band`,
  // Guarded `side`.
  std::uint8_t band = 0, side = 0, tag = 0;
  union {
    PolicyNode* prev = nullptr;
    std::int64_t until;   // Retention's, of a node that it keeps
  };
  union {
    PolicyNode* next = nullptr;
    std::uint64_t place;
  };
  std::uint32_t stamp = 0, count = 0;

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
  // Sets the account for memory that grows with the cache. Called first, if at all.
  virtual void use_memory(MemoryAccount& account) { static_cast<void>(account); }
  // Frees such memory as far as possible: ghost entries, and spare space for nodes.
  virtual void shed() {}
  // Begins the run that a request matched: the following touches, from the last value to the first.
  virtual void begin(const RequestTraits& request) { static_cast<void>(request); }
  // Ends that run; fewer nodes may have been touched than the request matched.
  virtual void end_run() {}
  // Sets the memory budget, at the start and whenever it changes.
  virtual void resize(std::uint64_t capacity_bytes) { static_cast<void>(capacity_bytes); }
  // Announces a new node before the eviction that makes space for it. insert() need not follow.
  // Called only if wants_reservations().
  [[nodiscard]] virtual bool wants_reservations() const { return false; }
  virtual void on_reserve(const PolicyNode& node) { static_cast<void>(node); }
  // Admission control, called only if is_selective(). RETURNS whether a new node has a higher
  // expected value than its victim. A rejected node counts as used, and its children cannot be
  // stored.
  [[nodiscard]] virtual bool is_selective() const { return false; }
  [[nodiscard]] virtual bool admits(const PolicyNode& node) {
    static_cast<void>(node);
    return true;
  }
  // RETURNS whether the policy reads a candidate's tick of last use itself; the owner may then set
  // the tick instead of calling touch(). May change with every call.
  [[nodiscard]] virtual bool reads_ticks() const { return false; }
  // Adds a new node.
  virtual void insert(PolicyNode& node) = 0;
  // Records a use of a node that the policy holds.
  virtual void touch(PolicyNode& node) = 0;
  // Removes a node that the policy holds, for another reason than eviction.
  virtual void erase(PolicyNode& node) = 0;
  // Removes and RETURNS the next eviction candidate; null if the policy holds no node.
  [[nodiscard]] virtual PolicyNode* pop() = 0;
  // Takes back a popped node that was not used since; it stays the next candidate.
  virtual void restore(PolicyNode& node) = 0;
  // Makes a node that the policy holds the next candidate: no further use is expected.
  virtual void demote(PolicyNode& node) {
    erase(node);
    restore(node);
  }
};

struct PolicyInfo {
  std::string_view name;
  bool fits_prefixes;         // suited to prefix blocks
  std::string_view summary;   // one line for `tensorcache policies`
  std::unique_ptr<Policy> (*make)();
};

// RETURNS all policies in alphabetical order.
[[nodiscard]] std::span<const PolicyInfo> policies();
// RETURNS the policy of that name; null if there is none.
[[nodiscard]] const PolicyInfo* find_policy(std::string_view name);
[[nodiscard]] std::unique_ptr<Policy> make_policy(std::string_view name);

}   // namespace tensorcache::policy
