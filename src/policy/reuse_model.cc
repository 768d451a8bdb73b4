#include "policy/reuse_model.h"

#include <algorithm>
#include <cmath>

namespace tensorcache {
namespace {

constexpr double kBinsPerOctave = 4;
constexpr double kFade = 0.97;   // of what was learned, at each learning
// A class is taken to do as all do with the weight of so many requests.
constexpr double kPriorRequests = 1;
// Neighbouring ages, so many on either side, are learned from as well.
constexpr int kReach = 2;

}   // namespace

ReuseModel::ReuseModel() {
  begins_[0] = 0;
  for (std::size_t i = 1; i <= kAges; ++i) {
    const double begin = std::exp2(static_cast<double>(i - 1) / kBinsPerOctave);
    begins_[i] = std::max(begins_[i - 1] + 1, static_cast<std::uint64_t>(begin));
  }
}

std::size_t ReuseModel::age_of(std::uint64_t requests) const {
  const auto above = std::upper_bound(begins_.begin() + 1, begins_.begin() + kAges, requests);
  return static_cast<std::size_t>(above - begins_.begin()) - 1;
}

void ReuseModel::learn(const Counts& waiting) {
  const double prior = kPriorRequests * values_per_request_;
  Counts events{}, times{};
  Ages all_events{}, all_times{};
  for (std::size_t c = 0; c < kClasses; ++c) {
    double at_risk = 0;
    for (std::size_t age = kAges; age-- > 0;) {
      const double ended = reused_[c][age] + forgotten_[c][age] + waiting[c][age];
      times[c][age] = (at_risk + ended / 2) * width(age);
      events[c][age] = reused_[c][age];
      at_risk += ended;
      all_events[age] += events[c][age];
      all_times[age] += times[c][age];
    }
  }
  const auto smooth = [&](const Ages& raw, std::size_t age) {
    double sum = 0;
    for (int d = -kReach; d <= kReach; ++d) {
      const int at = static_cast<int>(age) + d;
      if (at >= 0 && at < static_cast<int>(kAges)) sum += raw[static_cast<std::size_t>(at)] * (1 - std::abs(d) / (kReach + 1.0));
    }
    return sum;
  };
  Ages rate_of_all{};
  for (std::size_t age = 0; age < kAges; ++age) {
    const double time = smooth(all_times, age);
    rate_of_all[age] = (smooth(all_events, age) + 1e-9) / (time + 1);
  }
  for (std::size_t c = 0; c < kClasses; ++c) {
    Ages rate{};
    for (std::size_t age = 0; age < kAges; ++age) {
      rate[age] = (smooth(events[c], age) + prior) / (smooth(times[c], age) + prior / rate_of_all[age]);
    }
    for (std::size_t age = 0; age < kAges; ++age) {
      double alive = 1, hits = 0, time = 0, best = 0;
      for (std::size_t later = age; later < kAges && alive > 1e-3; ++later) {
        const double hit = alive * -std::expm1(-rate[later] * width(later));
        time += (alive - hit / 2) * width(later);
        hits += hit;
        alive -= hit;
        best = std::max(best, hits / time);
      }
      worth_[c][age] = best;
    }
    for (std::size_t age = 0; age < kAges; ++age) {
      reused_[c][age] *= kFade;
      forgotten_[c][age] *= kFade;
    }
  }
}

}   // namespace tensorcache
