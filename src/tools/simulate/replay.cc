#include "tools/simulate/replay.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <queue>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "store/policy/policy.h"

namespace tensorcache::simulate {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

// As the memory tier keeps it: what is chained behind another holds it, and only what holds nobody
// goes.
class Store {
 public:
  Store(const Recording& recording, const Setting& setting)
      : recording_(recording), capacity_(setting.size), policy_(policy::make_policy(setting.policy)), nodes_(recording.distinct()) {
    if (!policy_) throw std::runtime_error("policy '" + setting.policy + "' is unknown");
    policy_->resize(capacity_);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      nodes_[i].hash = mixed(i);
      nodes_[i].charge_bytes = recording.bytes()[i];
      if (recording.chained()) nodes_[i].kind = Kind::kPrefixBlock;   // `auto` orders them apart from other values
    }
  }

  [[nodiscard]] bool resident(std::uint32_t block) const { return nodes_[block].resident; }
  void begin(const policy::RequestTraits& request) { policy_->begin(request); }

  // From the last to the first, so that parents are newer than what is chained behind them.
  void touch(std::span<const std::uint32_t> run) {
    for (auto block = run.rbegin(); block != run.rend(); ++block) {
      Node& node = nodes_[*block];
      unpark(node);
      policy_->touch(node);
    }
  }

  void insert(std::span<const std::uint32_t> chain, std::size_t first) {
    std::uint32_t pinned = first > 0 ? chain[first - 1] : kNone;
    hold(pinned);
    for (std::size_t i = first; i < chain.size(); ++i) {
      Node& node = nodes_[chain[i]];
      if (!node.resident) {
        node.parent = i > 0 ? &nodes_[chain[i - 1]] : nullptr;
        policy_->on_reserve(node);
        if (used_ + node.charge_bytes > capacity_ && !policy_->admits(node)) {
          pass_over(chain.subspan(i));
          break;
        }
        if (node.charge_bytes > capacity_ || !make_room(node.charge_bytes)) break;
        used_ += node.charge_bytes;
        node.resident = true;
        node.above = i > 0 && nodes_[chain[i - 1]].resident ? chain[i - 1] : kNone;
        hold(node.above);
        policy_->insert(node);
      }
      hold(chain[i]);
      let_go(pinned);
      pinned = chain[i];
    }
    let_go(pinned);
  }

  // A conversation that will not go on: what of its end nothing else is chained behind goes next,
  // the last block first.
  void demote(std::span<const std::uint32_t> chain) {
    std::size_t end = chain.size();
    while (end > 0 && !nodes_[chain[end - 1]].resident) --end;
    std::size_t first = end;
    while (first > 0 && nodes_[chain[first - 1]].holders == (first == end ? 0 : 1)) --first;
    for (; first < end; ++first) {
      Node& node = nodes_[chain[first]];
      if (!node.parked) policy_->demote(node);
    }
  }

 private:
  struct Node : policy::PolicyNode {
    std::uint32_t above = kNone, holders = 0;   // of it: what is chained behind it, and a running request
    bool resident = false, parked = false;
  };
  static std::uint64_t mixed(std::uint64_t x) {   // splitmix64
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }
  void hold(std::uint32_t block) {
    if (block != kNone) ++nodes_[block].holders;
  }
  void let_go(std::uint32_t block) {
    if (block != kNone && --nodes_[block].holders == 0) unpark(nodes_[block]);
  }
  void unpark(Node& node) {
    if (!node.parked) return;
    node.parked = false;
    policy_->restore(node);
  }
  void evict(Node& node) {
    node.resident = false;
    used_ -= node.charge_bytes;
    let_go(std::exchange(node.above, kNone));
  }
  // The first is not admitted, and so the policy must hear of the others.
  void pass_over(std::span<const std::uint32_t> chain) {
    for (std::size_t i = 1; i < chain.size(); ++i) {
      Node& node = nodes_[chain[i]];
      if (node.resident) continue;
      node.parent = &nodes_[chain[i - 1]];
      static_cast<void>(policy_->admits(node));
    }
  }
  bool make_room(std::uint64_t bytes) {
    while (used_ + bytes > capacity_) {
      Node* const node = static_cast<Node*>(policy_->pop());
      if (node == nullptr) return false;
      if (node->holders > 0) {
        node->parked = true;
      } else {
        evict(*node);
      }
    }
    return true;
  }

  const Recording& recording_;
  const std::uint64_t capacity_;
  const std::unique_ptr<policy::Policy> policy_;
  std::vector<Node> nodes_;
  std::uint64_t used_ = 0;
};

// Belady's MIN over the same rule. A block's next use is never later than that of what is chained
// behind it, so the latest is a leaf.
class Oracle {
 public:
  Oracle(const Recording& recording, const Setting& setting)
      : recording_(recording), capacity_(setting.size), next_(recording.distinct(), kNone), resident_(recording.distinct()) {
    const auto steps = recording.steps();
    for (std::uint64_t i = 0; i < recording.blocks().size(); ++i) next_use_.push_back(kNone);
    next_use_.finish();
    for (std::size_t i = steps.size(); i-- > 0;) {
      for (std::uint64_t at = steps[i].first; at < steps[i].first + steps[i].blocks; ++at) {
        const std::uint32_t block = recording.blocks()[at];
        next_use_.writable()[at] = next_[block];
      }
      for (const std::uint32_t block : recording.blocks(steps[i])) next_[block] = static_cast<std::uint32_t>(i);
    }
  }
  [[nodiscard]] bool resident(std::uint32_t block) const { return resident_[block]; }
  void serve(const Step& step) {
    compact();
    const auto blocks = recording_.blocks(step);
    for (std::uint32_t i = 0; i < step.blocks; ++i) {
      next_[blocks[i]] = next_use_.all()[step.first + i];
      if (resident_[blocks[i]]) queue_.emplace(next_[blocks[i]], i, blocks[i]);
    }
    for (std::uint32_t i = 0; i < step.blocks; ++i) {
      const std::uint32_t block = blocks[i];
      if (resident_[block]) continue;
      const std::uint64_t bytes = recording_.bytes()[block];
      if (next_[block] == kNone || !make_room(bytes, next_[block])) return;
      resident_[block] = true;
      used_ += bytes;
      queue_.emplace(next_[block], i, block);
    }
  }

 private:
  // Without those that are out of date.
  void compact() {
    if (queue_.size() < 2 * resident_.size() + 4096) return;
    decltype(queue_) fresh;
    for (; !queue_.empty(); queue_.pop()) {
      const auto [use, depth, block] = queue_.top();
      if (resident_[block] && use == next_[block]) fresh.push(queue_.top());
    }
    queue_ = std::move(fresh);
  }
  // Of what is used later than `next`.
  bool make_room(std::uint64_t bytes, std::uint32_t next) {
    while (used_ + bytes > capacity_) {
      if (queue_.empty()) return false;
      const auto [use, depth, block] = queue_.top();
      if (resident_[block] && use == next_[block]) {
        if (use <= next) return false;
        resident_[block] = false;
        used_ -= recording_.bytes()[block];
      }
      queue_.pop();
    }
    return true;
  }

  const Recording& recording_;
  const std::uint64_t capacity_;
  Spool<std::uint32_t> next_use_;     // by access: the request that uses it next
  std::vector<std::uint32_t> next_;   // by block, now
  std::vector<bool> resident_;
  std::priority_queue<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>> queue_;   // next use, depth, block; some are out of date
  std::uint64_t used_ = 0;
};

template <class Cache>
std::size_t leading_run(const Cache& cache, std::span<const std::uint32_t> blocks) {
  const auto missing = std::find_if_not(blocks.begin(), blocks.end(), [&](std::uint32_t block) { return cache.resident(block); });
  return static_cast<std::size_t>(missing - blocks.begin());
}

void count(const Recording& recording, const Step& step, std::size_t hits, Outcome* outcome) {
  const auto blocks = recording.blocks(step);
  ++outcome->requests;
  outcome->requests_hit += hits > 0 ? 1 : 0;
  outcome->accesses += step.blocks;
  outcome->misses += step.blocks - hits;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    outcome->bytes += recording.bytes()[blocks[i]];
    outcome->missed_bytes += i < hits ? 0 : recording.bytes()[blocks[i]];
  }
  outcome->tokens += step.input_tokens;
  if (step.blocks > 0) outcome->missed_tokens += step.input_tokens - step.input_tokens * hits / step.blocks;
}

}   // namespace

std::vector<bool> last_of_conversation(const Recording& recording) {
  const auto steps = recording.steps();
  std::vector<std::uint32_t> used_last(recording.distinct(), 0);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    for (const std::uint32_t block : recording.blocks(steps[i])) used_last[block] = static_cast<std::uint32_t>(i);
  }
  std::vector<bool> ends(steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto blocks = recording.blocks(steps[i]);
    // The last block is seldom full, so that the next turn has another one.
    const std::size_t whole = blocks.size() > 1 ? blocks.size() - 2 : 0;
    ends[i] = !blocks.empty() && used_last[blocks[whole]] == i;
  }
  return ends;
}

Outcome replay(const Recording& recording, const Setting& setting, const std::vector<bool>& conversation_ends) {
  Outcome outcome;
  if (setting.policy == "min") {
    Oracle oracle(recording, setting);
    for (const Step& step : recording.steps()) {
      count(recording, step, leading_run(oracle, recording.blocks(step)), &outcome);
      oracle.serve(step);
    }
    return outcome;
  }
  Store store(recording, setting);
  double due = 0;
  for (std::size_t i = 0; i < recording.steps().size(); ++i) {
    const Step& step = recording.steps()[i];
    const auto blocks = recording.blocks(step);
    const std::size_t hits = leading_run(store, blocks);
    count(recording, step, hits, &outcome);
    store.begin({.values = step.blocks, .hits = hits, .output_tokens = step.output_tokens});
    store.touch(blocks.first(hits));
    store.insert(blocks, hits);
    if (setting.hint_recall > 0 && conversation_ends[i]) {
      due += setting.hint_recall;   // evenly: every second one at 0.5
      if (due >= 1) {
        due -= 1;
        store.demote(blocks);
      }
    }
  }
  return outcome;
}

}   // namespace tensorcache::simulate
