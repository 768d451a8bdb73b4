// The queue of requests for slots: fair between tenants, in order of arrival within each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "serving/llama/sequence.h"

namespace tensorcache::llama {

// Threads: none of its own. Cost: linear in what waits.
class FairQueue {
 public:
  using Pointer = std::shared_ptr<Sequence>;

  void push(Pointer sequence) { waiting_.push_back(std::move(sequence)); }
  // Before all others of its tenant.
  void push_front(Pointer sequence) { waiting_.push_front(std::move(sequence)); }
  [[nodiscard]] bool empty() const { return waiting_.empty(); }
  [[nodiscard]] std::size_t size() const { return waiting_.size(); }

  // The next one: of the tenant with the fewest in `slots`, then of the one whose last turn was longest ago, the first that `may_start`.
  // Null: none may.
  template <class MayStart>
  [[nodiscard]] Pointer take(std::span<const Pointer> slots, const MayStart& may_start) {
    for (const Turn& turn : turns(slots)) {
      for (auto at = waiting_.begin(); at != waiting_.end(); ++at) {
        if ((*at)->request->tenant != turn.tenant || !may_start(**at)) continue;
        std::uint64_t& last = last_turn_[(*at)->request->tenant];   // may throw: what waits is still here then
        Pointer taken = std::move(*at);
        waiting_.erase(at);
        last = ++turn_;
        return taken;
      }
    }
    return nullptr;
  }

  // Takes out the first for which `wanted` holds; null if there is none.
  template <class Wanted>
  [[nodiscard]] Pointer take_if(const Wanted& wanted) {
    const auto at = std::find_if(waiting_.begin(), waiting_.end(), [&](const Pointer& sequence) { return wanted(*sequence); });
    if (at == waiting_.end()) return nullptr;
    Pointer taken = std::move(*at);
    waiting_.erase(at);
    return taken;
  }

 private:
  struct Turn {
    std::string_view tenant;
    std::size_t running;
    std::uint64_t last;
  };

  // Of the tenants that have something here, the next one first. A tenant that has nothing here nor in a slot is forgotten: it will be the next.
  [[nodiscard]] std::vector<Turn> turns(std::span<const Pointer> slots) {
    std::unordered_map<std::string_view, std::size_t> running;
    for (const Pointer& slot : slots) {
      if (slot) ++running[slot->request->tenant];
    }
    std::vector<Turn> turns;
    for (const Pointer& sequence : waiting_) {
      const std::string& tenant = sequence->request->tenant;
      if (std::any_of(turns.begin(), turns.end(), [&](const Turn& turn) { return turn.tenant == tenant; })) continue;
      const auto last = last_turn_.find(tenant);
      const auto in_slots = running.find(tenant);
      turns.push_back({tenant, in_slots == running.end() ? 0 : in_slots->second, last == last_turn_.end() ? 0 : last->second});
    }
    std::erase_if(last_turn_, [&](const auto& item) {
      return !running.contains(item.first) && std::none_of(turns.begin(), turns.end(), [&](const Turn& turn) { return turn.tenant == item.first; });
    });
    std::stable_sort(turns.begin(), turns.end(),
                     [](const Turn& a, const Turn& b) { return std::pair(a.running, a.last) < std::pair(b.running, b.last); });
    return turns;
  }

  std::deque<Pointer> waiting_;
  std::unordered_map<std::string, std::uint64_t> last_turn_;
  std::uint64_t turn_ = 0;
};

}   // namespace tensorcache::llama
