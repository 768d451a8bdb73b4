// W-TinyLFU (Einziger, Friedman, Manes, 2017): new entries pass a small window; an entry that
// leaves it is admitted to the main space, a segmented LRU, only if it was used more often recently
// than the eviction candidate.
#include <algorithm>
#include <array>

#include "store/policy/frequency_sketch.h"
#include "store/policy/node_list.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

constexpr std::uint64_t kWindowShare = 100;   // one part in so many
constexpr std::size_t kSegments = 4;          // of the main space

class WTinyLfu final : public Policy {
  static auto& segment(auto& node) { return node.tag; }

 public:
  void use_memory(MemoryAccount& account) override { seen_.use_memory(account); }
  void shed() override {
    if (held_ == 0) seen_.shed();
  }
  void resize(std::uint64_t capacity_bytes) override {
    window_capacity_ = std::max<std::uint64_t>(1, capacity_bytes / kWindowShare);
    main_capacity_ = capacity_bytes - std::min(capacity_bytes, window_capacity_);
  }
  [[nodiscard]] bool wants_reservations() const override { return true; }
  void on_reserve(const PolicyNode& node) override { seen_.add(node.hash); }
  void insert(PolicyNode& node) override {
    seen_.grow_to(++held_);
    push(node, kWindow);
    // While the main space has room, everything may pass on.
    while (window_.bytes() > window_capacity_ && main_bytes() + window_.back()->charge_bytes <= main_capacity_) {
      push(*window_.pop_back(), 0);
    }
  }
  void touch(PolicyNode& node) override {
    seen_.add(node.hash);
    list(node).unlink(node);
    if (segment(node) == kWindow) {
      push(node, kWindow);
      return;
    }
    push(node, std::min<std::size_t>(segment(node) + 1u, kSegments - 1));
    // What a segment has too much goes down to the next.
    for (std::size_t i = kSegments - 1; i > 0; --i) {
      while (segments_[i].bytes() > main_capacity_ / kSegments) push(*segments_[i].pop_back(), i - 1);
    }
  }
  void erase(PolicyNode& node) override {
    --held_;
    list(node).unlink(node);
  }
  PolicyNode* pop() override {
    PolicyNode* candidate = window_.back();
    PolicyNode* victim = nullptr;
    for (NodeList& nodes : segments_) {
      if (victim == nullptr) victim = nodes.back();
    }
    const bool window_full = candidate != nullptr && window_.bytes() + candidate->charge_bytes > window_capacity_;
    PolicyNode* node = victim;
    if (victim == nullptr || (window_full && seen_.estimate(candidate->hash) <= seen_.estimate(victim->hash))) node = candidate;
    if (node == nullptr) return nullptr;
    erase(*node);
    if (node == victim && window_full) {
      window_.unlink(*candidate);
      push(*candidate, 0);
    }
    return node;
  }
  void restore(PolicyNode& node) override {
    ++held_;
    list(node).push_back(node);
  }

 private:
  static constexpr std::size_t kWindow = kSegments;
  NodeList& list(const PolicyNode& node) { return segment(node) == kWindow ? window_ : segments_[segment(node)]; }
  void push(PolicyNode& node, std::size_t to) {
    segment(node) = static_cast<std::uint8_t>(to);
    list(node).push_front(node);
  }
  [[nodiscard]] std::uint64_t main_bytes() const {
    std::uint64_t bytes = 0;
    for (const NodeList& nodes : segments_) bytes += nodes.bytes();
    return bytes;
  }

  NodeList window_;
  std::array<NodeList, kSegments> segments_;   // the last is the most protected
  FrequencySketch seen_;
  std::size_t held_ = 0;
  std::uint64_t window_capacity_ = 0, main_capacity_ = 0;
};

}   // namespace

std::unique_ptr<Policy> make_wtinylfu() { return std::make_unique<WTinyLfu>(); }

}   // namespace tensorcache::policy
