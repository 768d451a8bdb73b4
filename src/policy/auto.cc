// For a cache that holds both: blocks of prefixes under `adaptive`, all else under `guarded`.
//
// Each of the two groups has the share of the bytes that plain lru would give it, which a shadow over a sample of the keys says, and the
// one that is further above its share gives up its candidate. Comparing the candidates themselves would not do: an order that gives up
// what was just used, because it will not come back, would look like one whose values are all fresh, and eat up the other group. With
// lru's shares, and in each an order that is lru where that is best, the whole is not worse than lru.
#include <algorithm>
#include <array>

#include "policy/policies.h"
#include "policy/shadow_sample.h"

namespace tensorcache {

namespace {

constexpr std::uint64_t kLeastShare = 64;   // one part in so many, so that a group that comes up again has seen something
constexpr std::uint64_t kTellAgain = 8;     // a share that has changed by one part in so many

std::vector<std::unique_ptr<Policy>> only_lru() {
  std::vector<std::unique_ptr<Policy>> one;
  one.push_back(make_lru());
  return one;
}

class Auto final : public Policy {
 public:
  void begin(const RequestTraits& request) override { groups_[kBlocks].order->begin(request); }
  void resize(std::uint64_t capacity_bytes) override {
    capacity_ = capacity_bytes;
    sample_.resize(capacity_);
    for (Group& group : groups_) group.told = 0;
    tell_shares();
  }
  void announce(const PolicyNode& node) override { group(node).order->announce(node); }
  void insert(PolicyNode& node) override {
    static_cast<void>(sample_.use(node));
    group(node).held += node.charge_bytes;
    group(node).order->insert(node);
  }
  void touch(PolicyNode& node) override {
    static_cast<void>(sample_.use(node));
    group(node).order->touch(node);
  }
  void erase(PolicyNode& node) override {
    group(node).held -= node.charge_bytes;
    group(node).order->erase(node);
  }
  PolicyNode* pop() override {
    tell_shares();
    const bool blocks_above = held(kBlocks) * share(kOthers) >= held(kOthers) * share(kBlocks);
    const bool blocks = held(kOthers) == 0 || (held(kBlocks) > 0 && blocks_above);
    PolicyNode* node = groups_[blocks ? kBlocks : kOthers].order->pop();
    if (node != nullptr) group(*node).held -= node->charge_bytes;
    return node;
  }
  void restore(PolicyNode& node) override {
    group(node).held += node.charge_bytes;
    group(node).order->restore(node);
  }
  void demote(PolicyNode& node) override { group(node).order->demote(node); }

 private:
  static constexpr std::size_t kBlocks = 0, kOthers = 1;
  struct Group {
    std::unique_ptr<Policy> order;
    std::uint64_t held = 0;   // bytes
    std::uint64_t told = 0;   // its capacity, as it knows it
  };
  [[nodiscard]] Group& group(const PolicyNode& node) { return groups_[node.kind == Kind::kPrefixBlock ? kBlocks : kOthers]; }
  [[nodiscard]] double held(std::size_t of) const { return static_cast<double>(groups_[of].held); }
  // Bytes of the sample that lru gives it.
  [[nodiscard]] double share(std::size_t of) const {
    std::uint64_t bytes = 0;
    for (std::size_t kind = 0; kind < kKindCount; ++kind) {
      if ((static_cast<Kind>(kind) == Kind::kPrefixBlock) == (of == kBlocks)) bytes += sample_.bytes(0, static_cast<Kind>(kind));
    }
    return static_cast<double>(bytes);
  }
  void tell_shares() {
    const double all = share(kBlocks) + share(kOthers);
    for (const std::size_t i : {kBlocks, kOthers}) {
      const double part = all > 0 ? share(i) / all : 1;
      const auto bytes = std::max<std::uint64_t>(capacity_ / kLeastShare, static_cast<std::uint64_t>(static_cast<double>(capacity_) * part));
      Group& group = groups_[i];
      if (std::max(bytes, group.told) - std::min(bytes, group.told) <= group.told / kTellAgain) continue;
      group.told = bytes;
      group.order->resize(bytes);
    }
  }

  std::array<Group, 2> groups_{{{make_adaptive(), 0, 0}, {make_guarded(), 0, 0}}};
  ShadowSample sample_{only_lru()};
  std::uint64_t capacity_ = 0;
};

}   // namespace

std::unique_ptr<Policy> make_auto() { return std::make_unique<Auto>(); }

}   // namespace tensorcache
