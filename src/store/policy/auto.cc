// For a cache that holds both: blocks of prefixes under `adaptive`, all else under `guarded`.
//
// Each of the two groups has the share of the bytes that plain lru would give it, which a shadow
// over a sample of the keys says, and the one that is above its share gives up its candidate.
// Comparing the candidates themselves would not do: an order that gives up what was just used,
// because it will not come back, would look like one whose values are all fresh, and eat up the
// other group. With lru's shares, and in each an order that is lru where that is best, the whole is
// not worse than lru.
#include <algorithm>
#include <array>

#include "store/policy/policies.h"
#include "store/policy/shadow_sample.h"

namespace tensorcache::policy {

namespace {

constexpr std::uint64_t kMinShare = 64;   // one part in so many, so that a group that comes up again has seen something
constexpr std::uint64_t kTellAgain = 8;   // a share that has changed by one part in so many

std::vector<std::unique_ptr<Policy>> only_lru() {
  std::vector<std::unique_ptr<Policy>> one;
  one.push_back(make_lru());
  return one;
}

class Auto final : public Policy {
 public:
  void use_memory(MemoryAccount& account) override {
    sample_.use_memory(account);
    for (Group& group : groups_) group.order->use_memory(account);
  }
  void shed() override {
    sample_.shed();
    for (Group& group : groups_) group.order->shed();
  }
  void begin(const RequestTraits& request) override { groups_[kBlocks].order->begin(request); }
  void end_run() override { groups_[kBlocks].order->end_run(); }
  void resize(std::uint64_t capacity_bytes) override {
    capacity_ = capacity_bytes;
    sample_.resize(capacity_);
    for (Group& group : groups_) group.told = 0;
    tell_shares();
  }
  [[nodiscard]] bool is_selective() const override { return true; }
  bool admits(const PolicyNode& node) override { return group(node).order->admits(node); }
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
    // Blocks have what the others leave: those that are kept aside, because others are chained
    // behind them, are not in `held`.
    const bool others_above = static_cast<double>(groups_[kOthers].held) > static_cast<double>(capacity_) * share(kOthers);
    const bool blocks = groups_[kOthers].held == 0 || (groups_[kBlocks].held > 0 && !others_above);
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
  // Of the bytes that lru would hold.
  [[nodiscard]] double share(std::size_t of) const {
    std::uint64_t blocks = 0, all = 0;
    for (std::size_t kind = 0; kind < kKindCount; ++kind) {
      const std::uint64_t bytes = sample_.bytes(0, static_cast<Kind>(kind));
      all += bytes;
      blocks += static_cast<Kind>(kind) == Kind::kPrefixBlock ? bytes : 0;
    }
    if (all == 0) return 1;   // nothing is known yet
    return static_cast<double>(of == kBlocks ? blocks : all - blocks) / static_cast<double>(all);
  }
  void tell_shares() {
    for (const std::size_t i : {kBlocks, kOthers}) {
      const auto bytes = std::max<std::uint64_t>(capacity_ / kMinShare, static_cast<std::uint64_t>(static_cast<double>(capacity_) * share(i)));
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

}   // namespace tensorcache::policy
