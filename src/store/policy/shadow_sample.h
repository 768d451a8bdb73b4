// Simulates several policies on the same uses: caches without values, over a sample of the keys
// (Waldspurger et al., FAST 2015). The sample is all keys while few values fit, and is halved
// whenever more than kMaxNodes would be held, so its memory is bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "store/policy/policy.h"

namespace tensorcache::policy {

// For values that stand by themselves: chains are not minded.
class ShadowSample {
 public:
  static constexpr std::size_t kMaxNodes = 8192;   // of each policy's

  explicit ShadowSample(std::vector<std::unique_ptr<Policy>> policies);
  ~ShadowSample() { shed(); }
  ShadowSample(const ShadowSample&) = delete;
  ShadowSample& operator=(const ShadowSample&) = delete;
  void use_memory(MemoryAccount& account);   // before anything is used
  // Gives all memory back: the sample begins anew.
  void shed();
  void resize(std::uint64_t capacity_bytes);
  // False: its key is not in the sample, and nothing was done. Otherwise every shadow has used it,
  // and found() says which had it.
  bool use(const PolicyNode& value);
  [[nodiscard]] bool found(std::size_t shadow) const { return shadows_[shadow].found; }
  [[nodiscard]] std::size_t size(std::size_t shadow) const { return shadows_[shadow].nodes.size(); }
  // Of the sample.
  [[nodiscard]] std::uint64_t bytes(std::size_t shadow, Kind kind) const { return shadows_[shadow].bytes[static_cast<std::size_t>(kind)]; }

 private:
  struct Shadow {
    std::unique_ptr<Policy> policy;
    std::unordered_map<std::uint64_t, PolicyNode> nodes;   // by hash
    std::uint64_t bytes[kKindCount] = {}, used = 0;
    bool found = false;
  };
  [[nodiscard]] bool takes(std::uint64_t hash) const;
  [[nodiscard]] bool has_memory();
  void insert(Shadow& shadow, const PolicyNode& value);
  void make_room(Shadow& shadow, std::uint64_t bytes);
  void forget(Shadow& shadow, std::uint64_t hash);
  void halve();
  void give_back_but(std::size_t nodes);

  std::vector<Shadow> shadows_;
  std::uint64_t capacity_ = 0;
  int halvings_ = 0;                      // how often the sample was halved
  MemoryAccount* account_ = nullptr;      // or there is none
  std::size_t nodes_ = 0, allowed_ = 0;   // of all shadows; that there is memory for from the account
  std::size_t refused_ = 0;               // nodes, since it gave some
};

}   // namespace tensorcache::policy
