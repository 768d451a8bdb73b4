#include "store/disk/health.h"

#include <algorithm>
#include <utility>

namespace tensorcache::disk {
namespace {

constexpr std::chrono::milliseconds kLongestPause{60'000};

}   // namespace

bool Health::fail(std::string reason, Time now) noexcept {
  const bool news = !std::exchange(broken_, true);
  reason_.swap(reason);
  pause_ = std::clamp(pause_ * 2, retry_pause_, std::max(retry_pause_, kLongestPause));
  retry_at_ = now + pause_;
  return news;
}

void Health::fail(Time now) noexcept {
  broken_ = true;
  retry_at_ = now + retry_pause_;
}

void Health::heal() noexcept {
  broken_ = false;
  reason_.clear();
}

}   // namespace tensorcache::disk
