// For answers and other independent keys: follows whichever of lru, s3fifo and gdsf would lately
// have saved the most seconds. Each has a shadow over a sample of the keys (ShadowSample), and what
// a value costs to compute counts for those that would have had it.
//
// The values stand in the order that is followed. A change moves them into a fresh structure of the
// next order, the first to go first, a few with every use: it never pauses, and the old order
// decides until the last one has moved.
#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "store/policy/policies.h"
#include "store/policy/shadow_sample.h"

namespace tensorcache::policy {

namespace {

constexpr std::array kMakers{make_lru, make_s3fifo, make_gdsf};
constexpr int kMoves = 8;                // with each use
constexpr double kLeadToChange = 0.01;   // of all seconds asked for lately: less is noise
constexpr double kUsesRemembered = 4;    // for each value that fits: what is lately
constexpr double kMinUsesRemembered = 2048;
constexpr std::uint32_t kMaxUsesCarried = 3;
constexpr std::uint64_t kFarewells = 1024;   // steps in which an order that was left forgets its ghosts

std::vector<std::unique_ptr<Policy>> make_all() {
  std::vector<std::unique_ptr<Policy>> all;
  for (const auto make : kMakers) all.push_back(make());
  return all;
}

class Guarded final : public Policy {
  static auto& side(auto& node) { return node.side; }    // which of the two orders holds it
  static auto& uses(auto& node) { return node.count; }   // while lru does

 public:
  void use_memory(MemoryAccount& account) override {
    account_ = &account;
    sample_.use_memory(account);
    order().use_memory(account);
  }
  void shed() override {
    sample_.shed();
    order().shed();
    if (other()) other()->shed();
  }
  void resize(std::uint64_t capacity_bytes) override {
    capacity_ = capacity_bytes;
    sample_.resize(capacity_);
    order().resize(capacity_);
    if (moving_) other()->resize(capacity_);
  }
  void insert(PolicyNode& node) override {
    compare(node);
    uses(node) = 0;
    add(node, now_);
  }
  void touch(PolicyNode& node) override {
    if (followed_ == kLru && uses(node) < kMaxUsesCarried) ++uses(node);   // lru itself does not count them
    orders_[side(node)]->touch(node);
    compare(node);
  }
  void erase(PolicyNode& node) override { orders_[side(node)]->erase(node); }
  PolicyNode* pop() override {
    PolicyNode* node = order().pop();
    return node == nullptr && moving_ ? other()->pop() : node;
  }
  void restore(PolicyNode& node) override {
    side(node) = now_;
    order().restore(node);
  }

 private:
  static constexpr std::size_t kLru = 0;

  [[nodiscard]] Policy& order() { return *orders_[now_]; }
  [[nodiscard]] std::unique_ptr<Policy>& other() { return orders_[1 - now_]; }
  void add(PolicyNode& node, std::uint8_t to) {
    side(node) = to;
    orders_[to]->insert(node);
  }

  void compare(const PolicyNode& node) {
    if (other()) leave_behind();
    if (!sample_.use(node)) return;
    const double remembered = std::max(kMinUsesRemembered, kUsesRemembered * static_cast<double>(sample_.size(kLru)));
    const double fade = 1 - 1 / remembered;
    const auto seconds = static_cast<double>(node.cost_seconds);
    asked_ = asked_ * fade + seconds;
    for (std::size_t i = 0; i < saved_.size(); ++i) saved_[i] = saved_[i] * fade + (sample_.found(i) ? seconds : 0);
    ++compared_;
    if (other() || static_cast<double>(compared_) < remembered / 2) return;
    const auto best = static_cast<std::size_t>(std::max_element(saved_.begin(), saved_.end()) - saved_.begin());
    if (saved_[best] - saved_[followed_] > kLeadToChange * asked_) follow(best);
  }
  void follow(std::size_t next) {
    try {
      other() = kMakers[next]();
    } catch (const std::bad_alloc&) {   // it stays as it is
      return;
    }
    if (account_ != nullptr) other()->use_memory(*account_);
    other()->resize(capacity_);
    followed_ = next;
    moving_ = true;
    compared_ = 0;
  }
  // Some values move; once there are none, the order that they left forgets what it remembers of
  // others.
  void leave_behind() {
    for (int i = 0; moving_ && i < kMoves; ++i) {
      PolicyNode* node = order().pop();
      if (node == nullptr) {
        moving_ = false;
        now_ = 1 - now_;
        ghosts_ = capacity_;
        break;
      }
      const std::uint32_t carried = std::min<std::uint32_t>(uses(*node), kMaxUsesCarried);
      uses(*node) = 0;
      add(*node, 1 - now_);
      for (std::uint32_t use = 0; use < carried; ++use) other()->touch(*node);
    }
    if (moving_) return;
    ghosts_ -= std::min(ghosts_, capacity_ / kFarewells + 1);
    other()->resize(ghosts_);
    if (ghosts_ == 0) other().reset();
  }

  ShadowSample sample_{make_all()};
  std::array<double, kMakers.size()> saved_{};   // seconds, lately
  double asked_ = 0;                             // seconds it would all have cost
  std::uint64_t compared_ = 0;                   // uses since the last change
  std::array<std::unique_ptr<Policy>, 2> orders_{make_lru(), nullptr};
  std::uint8_t now_ = 0;          // the one that decides
  bool moving_ = false;           // to the other one
  std::size_t followed_ = kLru;   // the last one moved to, or moving to
  std::uint64_t capacity_ = 0, ghosts_ = 0;
  MemoryAccount* account_ = nullptr;   // of the orders; the sample is bounded
};

}   // namespace

std::unique_ptr<Policy> make_guarded() { return std::make_unique<Guarded>(); }

}   // namespace tensorcache::policy
