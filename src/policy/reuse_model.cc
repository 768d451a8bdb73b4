#include "policy/reuse_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace tensorcache {
namespace {

constexpr double kBinsPerOctave = 3;
static const double kFade = getenv("FA")?atof(getenv("FA")):0.97;   // of what was learned, at each learning
// A class is taken to do as all do with the weight of so many requests.
static const double kPriorRequests = getenv("PR")?atof(getenv("PR")):1;
// Neighbouring ages, so many on either side, are learned from as well.
static const int kReach = getenv("RE")?atoi(getenv("RE")):2;

// The last blocks of prompts: what comes there is seldom the same again.
constexpr std::uint8_t kLastOfChain = 243;

// Of which level a class is in each of its traits; those that are of a kind by themselves have a level of the first.
constexpr std::size_t kTraits = 5, kLevels = 6;
std::array<std::size_t, kTraits> levels_of(std::size_t c) {
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
  if (traits.last && traits.uses == 0) return kLastOfChain;
  static const double TH = getenv("TH") ? atof(getenv("TH")) : 1;
  const auto third = [](double octaves) { return octaves < -TH ? 0u : octaves < TH ? 1u : 2u; };
  const unsigned share = traits.known < 0.5 ? 0 : traits.known < 0.9 ? 1 : 2;
  return static_cast<std::uint8_t>((((std::min(traits.uses, 2u) * 3 + share) * 3 + third(traits.answer)) * 3 + third(traits.more)) * 3 + third(traits.octaves));
}

double ReuseModel::hopeful_worth(std::size_t c) const { static const double Z=getenv("Z")?atof(getenv("Z")):2; return worth_[c][0] * (1 + Z / std::sqrt(1 + seen_all_)); }

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
  static const double G=getenv("G")?atof(getenv("G")):16; static const int IT=getenv("IT")?atoi(getenv("IT")):4;
  // factors: trait x level x age group of two octaves
  constexpr std::size_t kGroup = 6, kGroups = kAges / kGroup;
  double factor[kTraits][kLevels][kGroups]; for (auto& a : factor) for (auto& b : a) for (auto& x : b) x = 1;
  std::vector<std::size_t> used;
  for (std::size_t c = 0; c < kClasses; ++c) if (times[c][0] > 0 && c != kPresent) used.push_back(c);
  static Counts ge, gt; 
  for (std::size_t c : used) for (std::size_t g = 0; g < kGroups; ++g) { ge[c][g]=gt[c][g]=0; for (std::size_t age = g*kGroup; age < (g+1)*kGroup && age < ages; ++age) { ge[c][g]+=reused_[c][age]; gt[c][g]+=times[c][age]*rate_of_all[age]; } }
  for (int it = 0; it < IT; ++it) for (std::size_t t = 0; t < kTraits; ++t) {
    double ev[kLevels][kGroups]{}, ex[kLevels][kGroups]{};
    for (std::size_t c : used) { const auto l = levels_of(c);
      for (std::size_t g = 0; g < kGroups; ++g) { double f = 1; for (std::size_t u = 0; u < kTraits; ++u) if (u != t) f *= factor[u][l[u]][g];
        ev[l[t]][g] += ge[c][g]; ex[l[t]][g] += gt[c][g] * f; } }
    for (std::size_t l = 0; l < kLevels; ++l) for (std::size_t g = 0; g < kGroups; ++g) {
      double e=0,x=0; for (int d=-1; d<=1; ++d) { if ((d<0&&g==0)||(d>0&&g+1==kGroups)) continue; e+=ev[l][g+d]*(d?0.25:0.5); x+=ex[l][g+d]*(d?0.25:0.5);} 
      factor[t][l][g] = (e + prior) / (x + prior); }
  }
  for (std::size_t c = 0; c < kClasses; ++c) {
    if (c==0) seen_all_ = 0;
    for (std::size_t age = 0; age < kAges; ++age) seen_all_ += (reused_[c][age] + forgotten_[c][age]) / values_per_request;

    if (times[c][0] == 0 || c == kPresent) { worth_[c] = c == kOver ? Ages{} : worth_of_all; if (times[c][0]==0) continue; }
    const auto l = levels_of(c);
    Ages rate{};
    for (std::size_t age = 0; age < ages; ++age) {
      const std::size_t g = age / kGroup; double f = 1;
      for (std::size_t u = 0; u < kTraits; ++u) f *= factor[u][l[u]][g];
      const double p = prior * G;
      const double expected = c == kOver ? 0 : p;
      rate[age] = (smooth(reused_[c], age) + expected) / (smooth(times[c], age) + p / (rate_of_all[age] * f));
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
