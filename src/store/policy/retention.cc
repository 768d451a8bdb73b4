#include "store/policy/retention.h"

#include <algorithm>
#include <new>
#include <utility>

namespace tensorcache::policy {

namespace {

// Far enough to be never, and near enough not to overflow a time point.
constexpr std::chrono::milliseconds kLongest = std::chrono::hours{24 * 365 * 20};

}   // namespace

void Retention::advise(PolicyNode& node, const Hints& hints) {
  static_assert(Hints::kHighestPriority + 1 < kKept);
  const auto band = static_cast<std::uint8_t>(hints.priority == Hints::kUsualPriority ? kOrdered : hints.priority + 1);
  const bool kept = keeps(hints) && allowed_bytes_ >= kKeptBytes;
  if (!kept && band == node.band) return;
  erase(node);
  node.band = kOrdered;
  const bool late = kept || goes_late(band);
  if (late && late_bytes_ + node.charge_bytes > capacity_bytes_ / 2) {
    order_->insert(node);
    return;
  }
  try {
    if (kept && hints.keep_for.count() > 0) {
      keep(node, now_() + std::min(hints.keep_for, kLongest), band, false);
    } else if (kept) {
      keep(node, now_() + std::min(hints.expected_reuse, kLongest) * 3 / 2, band, true);
    } else {
      put(node, band);
    }
  } catch (const std::bad_alloc&) {   // then it is one of the others
    if (node.band == kOrdered) order_->insert(node);
  }
}

void Retention::put(PolicyNode& node, std::uint8_t band) {
  if (band == kOrdered) {
    node.band = kOrdered;
    order_->insert(node);
    return;
  }
  bands_[band].push_front(node);
  node.band = band;
  if (goes_late(band)) late_bytes_ += node.charge_bytes;
}

void Retention::keep(PolicyNode& node, Time until, std::uint8_t then, bool for_reuse) {
  const Until at{until.time_since_epoch().count(), ++serial_};
  kept_.emplace(at, Kept{&node, then, for_reuse});
  node.until = at.time;
  node.place = at.serial;
  node.band = kKept;
  late_bytes_ += node.charge_bytes;
  allowed_bytes_ -= kKeptBytes;
}

void Retention::touch_apart(PolicyNode& node) {
  if (node.band != kKept) {
    bands_[node.band].move_to_front(node);
  } else if (const Kept kept = kept_.find({node.until, node.place})->second; kept.for_reuse) {
    let_go(kept, true);
  }
}

void Retention::take_apart(PolicyNode& node) {
  if (goes_late(node.band)) late_bytes_ -= node.charge_bytes;
  if (node.band == kKept) {
    kept_.erase({node.until, node.place});
    allowed_bytes_ += kKeptBytes;
    return;
  }
  const auto band = bands_.find(node.band);
  band->second.unlink(node);
  if (band->second.empty()) bands_.erase(band);
}

// The time is over, or what it was kept for has come.
void Retention::let_go(const Kept& kept, bool used) {
  const auto [node_at, then, for_reuse] = kept;
  PolicyNode& node = *node_at;
  take_apart(node);
  node.band = kOrdered;
  try {
    put(node, then);
  } catch (const std::bad_alloc&) {
    order_->insert(node);
  }
  if (for_reuse && !used) demote(node);   // it was said to come by now, and did not
}

PolicyNode* Retention::pop_band(std::map<std::uint8_t, NodeList>::iterator band) {
  PolicyNode* node = band->second.back();
  take_apart(*node);
  return node;
}

PolicyNode* Retention::pop() {
  if (!kept_.empty()) {
    const std::int64_t now = now_().time_since_epoch().count();
    for (std::size_t i = 0; i < kMaxChances && !kept_.empty() && kept_.begin()->first.time <= now; ++i) let_go(kept_.begin()->second, false);
  }
  if (!bands_.empty() && !goes_late(bands_.begin()->first)) return pop_band(bands_.begin());
  if (PolicyNode* node = order_->pop()) return node;
  if (!bands_.empty()) return pop_band(bands_.begin());
  if (kept_.empty()) return nullptr;
  PolicyNode* node = kept_.begin()->second.node;
  take_apart(*node);
  node->band = kOrdered;
  return node;
}

void Retention::restore(PolicyNode& node) {
  const auto band = bands_.find(node.band);
  if (node.band == kOrdered || band == bands_.end()) {   // its band is empty since: it is the next of all, as it was
    node.band = kOrdered;
    order_->restore(node);
    return;
  }
  band->second.push_back(node);
  if (goes_late(node.band)) late_bytes_ += node.charge_bytes;
}

void Retention::demote(PolicyNode& node) {
  if (node.band != kOrdered) {
    take_apart(node);
    node.band = kOrdered;
    order_->insert(node);
  }
  order_->demote(node);
}

}   // namespace tensorcache::policy
