// Which value goes first. One small file for each policy, found by name; the cache and the simulator run the same code.
//
// A policy orders nodes and never sees keys or bytes. Whether a node may go is not its business: the owner takes the
// next one with pop() and, when that one cannot go yet (pinned, or others are chained behind it), keeps it aside and
// gives it back with restore() once it can. So no search ever passes the same obstacle twice.
//
// Threads: none of its own; the owner holds a lock around every call. Cost: O(1) or O(log n), no allocation, no throw.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tensorcache/cache.h"

namespace tensorcache {

// One value, as a policy sees it. Lives inside the owner's entry and must stay where it is while a policy holds it.
struct PolicyNode {
  PolicyNode* prev = nullptr;   // the policy's own
  PolicyNode* next = nullptr;
  std::uint64_t charge_bytes = 0;
  Kind kind = Kind::kOther;
};

class Policy {
 public:
  virtual ~Policy() = default;
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
};

// The policy of that name; null if there is none.
[[nodiscard]] std::unique_ptr<Policy> make_policy(std::string_view name);

// All valid names, in alphabetical order.
[[nodiscard]] std::span<const std::string_view> policy_names();

}   // namespace tensorcache
