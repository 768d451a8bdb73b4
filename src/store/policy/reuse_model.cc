#include "store/policy/reuse_model.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "store/policy/trait_factors.h"

namespace tensorcache::policy {
namespace {

constexpr double kBinsPerOctave = 2;
constexpr double kFade = 0.97;   // of what was learned, at each learning
// A class is taken to do as its traits say with the weight of so many requests, and a trait to say
// nothing with that of one.
constexpr double kPriorRequests = 16;
// Neighbouring ages, so many on either side, are learned from as well.
constexpr int kReach = 2;
constexpr std::size_t kGroup = ReuseModel::kAges / TraitFactors::kGroups;   // ages in a group of TraitFactors

// The last blocks of prompts: what comes there is seldom the same again.
constexpr std::uint8_t kLastOfChain = 243;

// Those that are of a kind by themselves have levels of their own.
TraitFactors::Levels levels_of(std::size_t c) {
  if (c >= kLastOfChain) return {c == kLastOfChain ? 3u : c == ReuseModel::kOver ? 4u : 5u, 5, 5, 5, 5};
  return {c / 81, c / 27 % 3, c / 9 % 3, c / 3 % 3, c % 3};
}

double smooth(const ReuseModel::Ages& raw, std::size_t age) {
  double sum = 0;
  for (int d = -kReach; d <= kReach; ++d) {
    const int at = static_cast<int>(age) + d;
    if (at >= 0 && at < static_cast<int>(raw.size())) sum += raw[static_cast<std::size_t>(at)] * (1 - std::abs(d) / (kReach + 1.0));
  }
  return sum;
}

}   // namespace

ReuseModel::ReuseModel() : reused_(kClasses), forgotten_(kClasses), worth_(kClasses), order_(kClasses * kAges), places_(kClasses * kAges) {
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
  if (traits.last && traits.uses == 0) return kLastOfChain;
  const auto third = [](double octaves) { return octaves < -1 ? 0u : octaves < 1 ? 1u : 2u; };
  const unsigned known = traits.known < 0.5 ? 0 : traits.known < 0.9 ? 1 : 2;
  const unsigned uses = std::min(traits.uses, 2u);
  return static_cast<std::uint8_t>((((uses * 3 + known) * 3 + third(traits.answer)) * 3 + third(traits.fresh)) * 3 + third(traits.gap));
}

std::size_t ReuseModel::age_of(std::uint64_t requests) const {
  if (requests < young_ages_.size()) return young_ages_[requests];
  const auto above = std::upper_bound(begins_.begin() + 1, begins_.begin() + kAges, requests);
  return static_cast<std::size_t>(above - begins_.begin()) - 1;
}

void ReuseModel::learn(const Counts& waiting, double values_per_request) {
  Counts times(kClasses);   // how long values have been of an age, in requests
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

  std::vector<std::size_t> seen;
  std::vector<TraitFactors::Class> classes;
  for (std::size_t c = 0; c < kClasses; ++c) {
    if (times[c][0] == 0) continue;
    seen.push_back(c);
    TraitFactors::Class& one = classes.emplace_back(TraitFactors::Class{levels_of(c), {}, {}, {}});
    for (std::size_t age = 0; age < ages; ++age) {
      one.events[age / kGroup] += reused_[c][age];
      one.expected[age / kGroup] += times[c][age] * rate_of_all[age];
    }
  }
  TraitFactors::fit(classes, values_per_request);

  std::fill(worth_.begin(), worth_.end(), worth_at(rate_of_all, ages));
  worth_[kOver].fill(0);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const std::size_t c = seen[i];
    const double prior = kPriorRequests * values_per_request;
    Ages rate{};
    for (std::size_t age = 0; age < ages; ++age) {
      const double expected = rate_of_all[age] * classes[i].product[age / kGroup];
      rate[age] = (smooth(reused_[c], age) + (c == kOver ? 0 : prior)) / (smooth(times[c], age) + prior / expected);
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

// A counting sort: worth is told apart by sixteenths of an octave, from 2^-40 on, which is finer
// than it is known.
void ReuseModel::rank() {
  constexpr std::size_t kSteps = std::size_t{41} * 16;
  const auto key = [&](std::size_t c, std::size_t age) {
    constexpr int kMinBits = (127 - 40) * 16;
    const auto bits = static_cast<int>(std::bit_cast<std::uint32_t>(static_cast<float>(worth_[c][age])) >> 19);
    const std::size_t step = c == kPresent ? kSteps : static_cast<std::size_t>(std::clamp<int>(bits - kMinBits, 0, kSteps - 1));
    return step * kAges + kAges - 1 - age;
  };
  std::vector<std::uint16_t> begins((kSteps + 1) * kAges + 1);
  for (std::size_t pair = 0; pair < order_.size(); ++pair) ++begins[key(pair / kAges, pair % kAges) + 1];
  for (std::size_t i = 1; i < begins.size(); ++i) begins[i] = static_cast<std::uint16_t>(begins[i] + begins[i - 1]);
  for (std::size_t pair = 0; pair < order_.size(); ++pair) {
    places_[pair] = begins[key(pair / kAges, pair % kAges)]++;
    order_[places_[pair]] = static_cast<std::uint16_t>(pair);
  }
}

}   // namespace tensorcache::policy
