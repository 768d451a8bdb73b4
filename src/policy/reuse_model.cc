#include "policy/reuse_model.h"

#include <algorithm>
#include <cmath>

namespace tensorcache {
namespace {

constexpr double kBinsPerOctave = 4;
constexpr double kFirstShare = 1.0 / 64;   // of the capacity: younger than that is one bin
constexpr double kFade = 0.97;             // of what was learned, at each learning
// What a class is taken to do before it has shown anything: as all do, with the weight of so many blocks.
constexpr double kPrior = 16;

}   // namespace

void ReuseModel::resize(std::uint64_t capacity_bytes) {
  const double first = std::max(1.0, static_cast<double>(capacity_bytes) * kFirstShare);
  begins_[0] = 0;
  for (std::size_t i = 1; i <= kAges; ++i) {
    const double begin = first * std::exp2(static_cast<double>(i - 1) / kBinsPerOctave);
    begins_[i] = std::max(begins_[i - 1] + 1, static_cast<std::uint64_t>(begin));
  }
}

std::size_t ReuseModel::age_of(std::uint64_t bytes) const {
  const auto above = std::upper_bound(begins_.begin() + 1, begins_.begin() + kAges, bytes);
  return static_cast<std::size_t>(above - begins_.begin()) - 1;
}

void ReuseModel::learn(const Counts& waiting) {
  // Of all classes together: the prior.
  std::array<double, kAges> all_reused{}, all_ended{};
  for (std::size_t c = 0; c < kClasses; ++c) {
    for (std::size_t age = 0; age < kAges; ++age) {
      all_reused[age] += reused_[c][age];
      all_ended[age] += reused_[c][age] + forgotten_[c][age] + waiting[c][age];
    }
  }
  std::array<double, kAges> hazard_of_all{};
  double left = 0;
  for (std::size_t age = kAges; age-- > 0;) {
    left += all_ended[age];
    hazard_of_all[age] = left > 0 ? all_reused[age] / left : 0;
  }
  for (std::size_t c = 0; c < kClasses; ++c) {
    std::array<double, kAges> hazard{};
    double at_risk = 0;
    for (std::size_t age = kAges; age-- > 0;) {
      at_risk += reused_[c][age] + forgotten_[c][age] + waiting[c][age];
      hazard[age] = (reused_[c][age] + kPrior * hazard_of_all[age]) / (at_risk + kPrior);
    }
    for (std::size_t age = 0; age < kAges; ++age) {
      double alive = 1, hits = 0, time = 0, best = 0;
      for (std::size_t later = age; later < kAges && alive > 1e-6; ++later) {
        const double hit = alive * hazard[later];
        time += (alive - hit / 2) * static_cast<double>(begins_[later + 1] - begins_[later]);
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
