#include "policy/reuse_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tensorcache {
namespace {

constexpr double kBinsPerOctave = 3;
constexpr double kFade = 0.97;   // of what was learned, at each learning
// A class is taken to do as all do with the weight of so many requests.
constexpr double kPriorRequests = 1;
// Neighbouring ages, so many on either side, are learned from as well.
constexpr int kReach = 2;

double smooth(const ReuseModel::Ages& raw, std::size_t age) {
  double sum = 0;
  for (int d = -kReach; d <= kReach; ++d) {
    const int at = static_cast<int>(age) + d;
    if (at >= 0 && at < static_cast<int>(raw.size())) sum += raw[static_cast<std::size_t>(at)] * (1 - std::abs(d) / (kReach + 1.0));
  }
  return sum;
}

}   // namespace

ReuseModel::ReuseModel() {
  begins_[0] = 0;
  for (std::size_t i = 1; i <= kAges; ++i) {
    const double begin = std::exp2(static_cast<double>(i - 1) / kBinsPerOctave);
    begins_[i] = std::max(begins_[i - 1] + 1, static_cast<std::uint64_t>(begin));
  }
  for (std::size_t age = 0; age < kAges; ++age) {
    for (std::uint64_t i = begins_[age]; i < begins_[age + 1] && i < young_ages_.size(); ++i) young_ages_[i] = static_cast<std::uint8_t>(age);
  }
  rank();
}

std::uint8_t ReuseModel::class_of(const ReuseTraits& traits) {
  constexpr std::uint8_t kLastOfChain = 48;   // what comes there is seldom the same again
  if (traits.last && traits.uses == 0) return kLastOfChain;
  const unsigned share = traits.known == 0 ? 0 : traits.known < 0.5 ? 1 : traits.known < 0.9 ? 2 : 3;
  const unsigned answer = traits.output_tokens < 64 ? 0 : traits.output_tokens < 256 ? 1 : traits.output_tokens < 512 ? 2 : 3;
  return static_cast<std::uint8_t>(std::min(traits.uses, 2u) * 16 + share * 4 + answer);
}

std::size_t ReuseModel::age_of(std::uint64_t requests) const {
  if (requests < young_ages_.size()) return young_ages_[requests];
  const auto above = std::upper_bound(begins_.begin() + 1, begins_.begin() + kAges, requests);
  return static_cast<std::size_t>(above - begins_.begin()) - 1;
}

void ReuseModel::learn(const Counts& waiting, double values_per_request) {
  const double prior = kPriorRequests * values_per_request;
  Counts times{};
  Ages all_events{}, all_times{};
  for (std::size_t c = 0; c < kClasses; ++c) {
    double at_risk = 0;
    for (std::size_t age = kAges; age-- > 0;) {
      const double ended = reused_[c][age] + forgotten_[c][age] + waiting[c][age];
      times[c][age] = (at_risk + ended / 2) * span(age);
      at_risk += ended;
      all_events[age] += reused_[c][age];
      all_times[age] += times[c][age];
    }
  }
  Ages rate_of_all{};
  for (std::size_t age = 0; age < kAges; ++age) rate_of_all[age] = (smooth(all_events, age) + 1e-9) / (smooth(all_times, age) + 1);
  for (std::size_t c = 0; c < kClasses; ++c) {
    Ages rate{};
    for (std::size_t age = 0; age < kAges; ++age) {
      const double expected = c == kOver ? 0 : prior;
      rate[age] = (smooth(reused_[c], age) + expected) / (smooth(times[c], age) + prior / rate_of_all[age]);
    }
    find_worth(c, rate);
    for (double& count : reused_[c]) count *= kFade;
    for (double& count : forgotten_[c]) count *= kFade;
  }
  rank();
}

void ReuseModel::find_worth(std::size_t c, const Ages& rate) {
  Ages share{};   // of those there at the beginning of an age, that are used again in it
  for (std::size_t age = 0; age < kAges; ++age) share[age] = -std::expm1(-rate[age] * span(age));
  for (std::size_t age = 0; age < kAges; ++age) {
    double alive = 1, hits = 0, time = 0, best_hits = 0, best_time = 1;
    for (std::size_t later = age; later < kAges && alive > 1e-3; ++later) {
      const double hit = alive * share[later];
      time += (alive - hit / 2) * span(later);
      hits += hit;
      alive -= hit;
      if (hits * best_time > best_hits * time) {
        best_hits = hits;
        best_time = time;
      }
    }
    worth_[c][age] = best_hits / best_time;
  }
}

void ReuseModel::rank() {
  std::iota(order_.begin(), order_.end(), std::uint16_t{0});
  const auto present = [](std::size_t pair) { return pair / kAges == kPresent; };
  std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
    if (present(a) != present(b)) return present(b);
    const double left = worth_[a / kAges][a % kAges], right = worth_[b / kAges][b % kAges];
    if (left != right) return left < right;
    return a % kAges != b % kAges ? a % kAges > b % kAges : a < b;
  });
  for (std::size_t i = 0; i < order_.size(); ++i) places_[order_[i]] = static_cast<std::uint16_t>(i);
}

}   // namespace tensorcache
