#include "policy/reuse_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

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
  std::size_t ages = 1;   // that there is something to learn of
  for (std::size_t c = 0; c < kClasses; ++c) {
    double at_risk = 0;
    for (std::size_t age = kAges; age-- > 0;) {
      const double ended = reused_[c][age] + forgotten_[c][age] + waiting[c][age];
      if (ended > 0) ages = std::max(ages, age + 1);
      times[c][age] = (at_risk + ended / 2) * span(age);
      at_risk += ended;
      all_events[age] += reused_[c][age];
      all_times[age] += times[c][age];
    }
  }
  Ages rate_of_all{};
  for (std::size_t age = 0; age < ages; ++age) rate_of_all[age] = (smooth(all_events, age) + 1e-9) / (smooth(all_times, age) + 1);
  const Ages worth_of_all = worth_at(rate_of_all, ages);
  for (std::size_t c = 0; c < kClasses; ++c) {
    if (times[c][0] == 0) {   // nothing is known of it
      worth_[c] = c == kOver ? Ages{} : worth_of_all;
      continue;
    }
    Ages rate{};
    for (std::size_t age = 0; age < ages; ++age) {
      const double expected = c == kOver ? 0 : prior;
      rate[age] = (smooth(reused_[c], age) + expected) / (smooth(times[c], age) + prior / rate_of_all[age]);
    }
    worth_[c] = worth_at(rate, ages);
    for (double& count : reused_[c]) count *= kFade;
    for (double& count : forgotten_[c]) count *= kFade;
  }
  rank();
}

ReuseModel::Ages ReuseModel::worth_at(const Ages& rate, std::size_t ages) const {
  Ages share{};   // of those there at the beginning of an age, that are used again in it
  for (std::size_t age = 0; age < ages; ++age) share[age] = -std::expm1(-rate[age] * span(age));
  Ages worth{};
  for (std::size_t age = 0; age < ages; ++age) {
    double alive = 1, hits = 0, time = 0, best_hits = 0, best_time = 1;
    for (std::size_t later = age; later < ages && alive > 1e-3; ++later) {
      const double hit = alive * share[later];
      time += (alive - hit / 2) * span(later);
      hits += hit;
      alive -= hit;
      if (hits * best_time > best_hits * time) {
        best_hits = hits;
        best_time = time;
      }
    }
    worth[age] = best_hits / best_time;
  }
  return worth;
}

// Sorts whole numbers: the worth, as the bits of a float that is not negative, and below it youth and the class.
void ReuseModel::rank() {
  std::array<std::uint64_t, kClasses * kAges> keys;
  for (std::size_t c = 0; c < kClasses; ++c) {
    for (std::size_t age = 0; age < kAges; ++age) {
      const auto worth = c == kPresent ? std::numeric_limits<float>::max() : static_cast<float>(worth_[c][age]);
      keys[c * kAges + age] = std::uint64_t{std::bit_cast<std::uint32_t>(worth)} << 32 | (kAges - 1 - age) << 16 | c;
    }
  }
  std::sort(keys.begin(), keys.end());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::size_t c = keys[i] & 0xFFFF, age = kAges - 1 - (keys[i] >> 16 & 0xFFFF);
    order_[i] = static_cast<std::uint16_t>(c * kAges + age);
    places_[c * kAges + age] = static_cast<std::uint16_t>(i);
  }
}

}   // namespace tensorcache
