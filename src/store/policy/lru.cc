// LRU: evicts the least recently used entry. Chains are touched from the last block to the first,
// which makes it leaf-first.
#include <algorithm>
#include <array>

#include "store/policy/node_list.h"
#include "store/policy/policies.h"

namespace tensorcache::policy {

namespace {

// The order of use is cut into spans of time. A node of whose use nothing was told stands in too
// old a span; when it is at the end of all, its tick shows that, and it goes to the span in which
// it was used. So the order is exact for what is told, and for the rest to a span, which is a
// thirtieth of the time that an unused node stays.
class Lru final : public Policy {
 public:
  [[nodiscard]] bool reads_ticks() const override { return true; }
  void insert(PolicyNode& node) override {
    if (size_++ == 0) start_at(node.last_use());
    span_for(node.last_use()).push_front(node);
  }
  void touch(PolicyNode& node) override {
    NodeRing::unlink(node);
    span_for(node.last_use()).push_front(node);
  }
  void erase(PolicyNode& node) override {
    --size_;
    NodeRing::unlink(node);
  }
  PolicyNode* pop() override {
    PolicyNode* found = nullptr;
    for (int moves = 0; size_ != 0; ++moves) {
      while (span(0).nodes.empty()) ++first_, --count_;
      PolicyNode& last = *span(0).nodes.back();
      const std::uint32_t tick = last.last_use();
      if (count_ == 1 || is_before(tick, span(1).from)) {
        found = &last;
        break;
      }
      if (found == nullptr || is_before(tick, found->last_use())) found = &last;
      if (moves == kMaxMoves) break;
      NodeRing::unlink(last);
      span_for(tick).push_front(last);
    }
    if (found != nullptr) erase(*found);
    return found;
  }
  void restore(PolicyNode& node) override {
    ++size_;
    span(0).nodes.push_back(node);
  }
  void demote(PolicyNode& node) override {
    node.set_last_use(span(0).from);   // or it would be thought to stand in too old a span
    NodeRing::unlink(node);
    span(0).nodes.push_back(node);
  }

 private:
  static constexpr std::size_t kSpans = 64;
  static constexpr std::uint32_t kShare = 32;
  static constexpr int kMaxMoves = 128;   // in one pop(): then the oldest of those goes
  struct Span {
    std::uint32_t from = 0;   // the tick
    NodeRing nodes;
  };

  static bool is_before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }   // ticks wrap around
  [[nodiscard]] Span& span(std::size_t i) { return spans_[(first_ + i) % kSpans]; }                          // the oldest is 0
  [[nodiscard]] std::size_t place_of(std::uint32_t tick) {
    std::size_t i = count_ - 1;
    while (i > 0 && is_before(tick, span(i).from)) --i;
    return i;
  }
  void start_at(std::uint32_t tick) {   // with nothing in any span
    count_ = 1;
    span(0).from = tick;
    length_ = 0;
  }
  // Where a node of that tick belongs.
  [[nodiscard]] NodeRing& span_for(std::uint32_t tick) {
    Span& newest = span(count_ - 1);
    return tick - newest.from < length_ ? newest.nodes : cut_for(tick);
  }
  // Cuts a span that is too long: what stands in the older part of it, and should not, will show at
  // the end.
  [[nodiscard]] NodeRing& cut_for(std::uint32_t tick) {
    std::size_t i = place_of(tick);
    length_ = std::max(static_cast<std::uint32_t>(size_), tick - span(0).from) / kShare + 1;
    const std::uint32_t after = tick - span(i).from;
    if (after < length_ || is_before(tick, span(i).from)) return span(i).nodes;
    const std::uint32_t from = tick - after % length_;
    if (count_ == kSpans) {
      join_two();
      i = place_of(tick);
    }
    ++i;
    for (std::size_t j = count_++; j > i; --j) move_span(j - 1, j);
    span(i).from = from;
    return span(i).nodes;
  }
  void move_span(std::size_t from, std::size_t to) {   // to an empty one
    span(to).from = span(from).from;
    span(to).nodes.take_in_front(span(from).nodes);
  }
  // Those neighbours that together are the shortest.
  void join_two() {
    const auto length = [&](std::size_t i) { return span(i + 2).from - span(i).from; };
    std::size_t best = 0;
    for (std::size_t i = 1; i + 2 < count_; ++i) {
      if (length(i) < length(best)) best = i;
    }
    span(best).nodes.take_in_front(span(best + 1).nodes);
    for (std::size_t i = best + 1; i + 1 < count_; ++i) move_span(i + 1, i);
    --count_;
  }

  std::size_t size_ = 0;
  std::size_t first_ = 0, count_ = 1;   // of the ring of spans
  std::uint32_t length_ = 0;            // of a span, in ticks
  std::array<Span, kSpans> spans_;
};

}   // namespace

std::unique_ptr<Policy> make_lru() { return std::make_unique<Lru>(); }

}   // namespace tensorcache::policy
