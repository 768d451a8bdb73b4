// Our own policy for prefix blocks: evicts the block least likely to be reused for its space, as
// learned. A history of recent uses tells what that order and plain LRU would have hit; the better
// one is followed.
#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "store/policy/use_history.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

// Which order is followed changes when so much of the capacity has been won by the other one.
constexpr double kLeadToChange = 0.02;
// After so many uses worth is learned anew; sooner at first.
constexpr std::uint64_t kLearningUses = 16384, kFirstLearningUses = 512;
// The history is of all values as long as so many fit the cache, and of a share of them beyond.
constexpr double kMaxInHistory = 8192;

class Adaptive final : public Policy {
 public:
  void use_memory(MemoryAccount& account) override {
    account_ = &account;
    order_.use_memory(account);
    history_->use_memory(account);
  }
  void shed() override {
    order_.shed();
    begin_history(share_);
  }
  void resize(std::uint64_t capacity_bytes) override {
    capacity_ = static_cast<double>(capacity_bytes);
    choose_share();
    history_->resize(history_capacity());
  }
  void begin(const RequestTraits& request) override {
    close_run();
    end_request();
    request_ = request;
    touches_left_ = known_ = request.hits;
    inserts_left_ = request.values - std::min(request.values, request.hits);
    gap_ = 0;
    passes_over_ = last_is_in_history_ = traits_are_of_now_ = false;
    values_per_request_ += 0.01 * (static_cast<double>(request.values) - values_per_request_);
    ++now_;
    if (uses_ - learned_uses_ >= std::clamp(uses_ / 4, kFirstLearningUses, kLearningUses)) {
      learned_uses_ = uses_;
      history_->learn(values_per_request_ / static_cast<double>(1u << share_));
      order_.on_ranking_changed();
    }
    order_.advance_to(now_);
    history_->begin(now_);
  }
  void end_run() override { close_run(); }
  void insert(PolicyNode& node) override {
    close_run();
    if (inserts_left_ == 0) go_beyond(node);
    mean_charge_ += (charge(node) - mean_charge_) / std::min<double>(++inserted_, 1024);
    if (std::has_single_bit(inserted_)) choose_share();
    use_count(node) = std::min(use_next(node).uses, 255u);
    value_class(node) = ReuseModel::kPresent;
    used_by(node) = now_;
    order_.put_first(node);
  }
  [[nodiscard]] bool is_selective() const override { return true; }
  bool admits(const PolicyNode& node) override {
    close_run();
    if (!selects_ || share_ > 0 || inserts_left_ == 0) return true;
    if (is_in_history(node.hash) && !passes_over_) {
      const Before before = history_->before(node.hash);
      if (before.uses > 0) note_known(before, request_.values - inserts_left_ + 1);
      ReuseTraits traits = this->traits();
      traits.uses = before.uses;
      passes_over_ = order_.is_worth_least(ReuseModel::class_of(traits));
    }
    if (passes_over_) static_cast<void>(use_next(node));
    return !passes_over_;
  }
  void touch(PolicyNode& node) override {
    if (touches_left_ == 0) begin({.values = 1, .hits = 1});   // a value by itself
    ++uses_;
    if (touches_left_ == request_.hits) note_known({.used_at = used_by(node)}, request_.hits);   // the run's last
    if (is_in_history(node.hash)) note(node);
    order_.take(node);
    use_count(node) = std::min<std::uint32_t>(use_count(node) + 1, 255);
    value_class(node) = ReuseModel::kPresent;
    used_by(node) = now_;
    order_.put_last(node);
    if (--touches_left_ == 0) close_run();
  }
  void erase(PolicyNode& node) override { order_.take(node); }
  PolicyNode* pop() override {
    PolicyNode* const node = follow_learned_ ? order_.least_worth() : order_.oldest();
    if (node == nullptr) return nullptr;
    __builtin_prefetch(node->next);   // goes next, most likely
    order_.take(*node);
    return node;
  }
  void restore(PolicyNode& node) override {
    if (value_class(node) == ReuseModel::kPresent && used_by(node) != now_)
      value_class(node) = ReuseModel::class_of({.uses = use_count(node)});   // its request is over
    order_.put_first(node);
  }
  void demote(PolicyNode& node) override {
    order_.take(node);
    value_class(node) = ReuseModel::kOver;
    order_.put_first(node);
    if (is_in_history(node.hash)) history_->demote(node.hash);
  }

 private:
  [[nodiscard]] static double charge(const PolicyNode& value) { return static_cast<double>(value.charge_bytes); }
  [[nodiscard]] bool is_in_history(std::uint64_t hash) const { return (hash * 0xD6E8FEB86659FD93u >> 32 & ((1u << share_) - 1)) == 0; }
  [[nodiscard]] double history_capacity() const { return std::ldexp(capacity_, -share_); }
  [[nodiscard]] Use use_of(const PolicyNode& node) const {
    const PolicyNode* above = node.parent;
    while (above != nullptr && !is_in_history(above->hash)) above = above->parent;
    return {node.hash, above != nullptr ? above->hash : 0, node.charge_bytes};
  }

  // Halves the share of values in the history until they are few enough. It begins anew: sizes
  // seldom change so much.
  void choose_share() {
    const double values = capacity_ / std::max(mean_charge_, 1.0);
    const int share = values <= kMaxInHistory ? 0 : std::min(30, static_cast<int>(std::ceil(std::log2(values / kMaxInHistory))));
    if (share == share_ || (share == share_ - 1 && share > 0)) return;
    begin_history(share);
  }

  void begin_history(int share) {
    std::unique_ptr<History> history;
    try {
      history = std::make_unique<History>(model_, share == 0);
    } catch (const std::bad_alloc&) {   // then the present one is larger than it need be
      return;
    }
    history_ = std::move(history);
    if (account_ != nullptr) history_->use_memory(*account_);
    share_ = share;
    run_.clear();
    history_->resize(history_capacity());
    history_->begin(now_);
  }

  void note(const PolicyNode& node) {
    try {
      run_.push_back({node.hash, 0, node.charge_bytes});
      history_->prefetch(node.hash);
    } catch (const std::bad_alloc&) {   // the history misses one use
    }
  }
  // There is more than the request said, or it is a value by itself.
  void go_beyond(const PolicyNode& node) {
    if (node.parent == nullptr || used_by(*node.parent) != now_) begin({});
    ++request_.values;
    ++inserts_left_;
    traits_are_of_now_ = false;
  }
  // A value that had to be computed.
  Before use_next(const PolicyNode& node) {
    ++uses_;
    if (inserts_left_ > 0) --inserts_left_;
    last_is_in_history_ = inserts_left_ == 0 && is_in_history(node.hash);
    if (!is_in_history(node.hash)) return {};
    const Before before = history_->use(use_of(node), traits());
    if (before.uses > 0) note_known(before, request_.values - inserts_left_);
    compare();
    return before;
  }
  void note_known(const Before& before, std::uint64_t known) {
    known_ = known;
    gap_ = now_ - before.used_at;
    traits_are_of_now_ = false;
  }
  // Of the request at hand, as far as it is known.
  const ReuseTraits& traits() {
    if (std::exchange(traits_are_of_now_, true)) return traits_;
    const auto values = static_cast<double>(request_.values), known = static_cast<double>(known_);
    traits_.known = known_ > 0 ? known / values : 0;
    traits_.answer = std::log2(1.0 + static_cast<double>(request_.output_tokens)) - usual_answer_;
    traits_.fresh = std::log2(1.0 + std::max(values - known, 0.0)) - usual_fresh_;
    traits_.gap = gap_ > 0 ? std::log2(gap_) - usual_gap_ : 0;
    return traits_;
  }
  // The run is known as a whole now.
  void close_run() {
    touches_left_ = 0;
    if (run_.empty()) return;
    history_->use_run(run_, traits());
    run_.clear();
    compare();
  }
  void compare() {
    const double much = kLeadToChange * history_capacity();
    lead_ = std::clamp(lead_ + history_->take_lead(), -much, much);
    if (lead_ >= much) follow_learned_ = selects_ = true;
    if (lead_ <= 0) selects_ = false;
    if (lead_ <= -much) follow_learned_ = false;
  }
  // The request is over, as far as it is known: its values get their classes.
  void end_request() {
    ReuseTraits traits = this->traits();
    usual_answer_ += 0.01 * traits.answer;
    usual_fresh_ += 0.01 * traits.fresh;
    usual_gap_ += 0.01 * traits.gap;
    traits.last = last_is_in_history_;
    history_->end(traits);
    traits.last = inserts_left_ == 0;
    const PolicyNode* above = nullptr;   // the value before
    while (PolicyNode* const node = order_.present()) {
      order_.take(*node);
      // Whoever used a value used what it is chained behind: so is known how often a value was used
      // that is not in the history.
      if (node == above) use_count(*node) = std::max(use_count(*node), traits.uses);
      above = node->parent;
      traits.uses = use_count(*node);
      value_class(*node) = ReuseModel::class_of(traits);
      order_.end_present_spare(value_class(*node));   // else it could go back to where it was taken from, for ever
      order_.put_last(*node);
      traits.last = false;
    }
  }

  MemoryAccount* account_ = nullptr;   // or there is none
  ReuseModel model_;
  ExpectedValueOrder order_{model_};   // of the real values, whichever is followed
  std::unique_ptr<History> history_ = std::make_unique<History>(model_, true);
  int share_ = 0;   // of the values, 2 to the minus so much are in the history
  double mean_charge_ = 0;
  std::uint64_t inserted_ = 0;

  RequestTraits request_;
  std::uint64_t touches_left_ = 0, inserts_left_ = 0;   // that are still to come, if it is as it said
  std::uint64_t known_ = 0;                             // of its values, how many had been used before
  std::uint32_t gap_ = 0;                               // requests since these were
  bool passes_over_ = false;                            // what is still to come is not worth its place
  bool last_is_in_history_ = false;                     // what ends its chain
  ReuseTraits traits_;                                  // of this, if
  bool traits_are_of_now_ = false;
  std::vector<Use> run_;                                        // what it found, the last value first
  double usual_answer_ = 0, usual_fresh_ = 0, usual_gap_ = 0;   // running means, of logarithms
  double values_per_request_ = 1;                               // a running mean
  std::uint32_t now_ = 0;                                       // requests
  std::uint64_t uses_ = 0, learned_uses_ = 0;
  double capacity_ = 0, lead_ = 0;   // bytes; lead: that the learned order found and LRU did not
  bool follow_learned_ = true, selects_ = false;
};

}   // namespace

std::unique_ptr<Policy> make_adaptive() { return std::make_unique<Adaptive>(); }

}   // namespace tensorcache::policy
