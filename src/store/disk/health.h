// Records whether the disk can be written, the reason if not, and the time of the next attempt:
// after a pause that doubles with each failure up to a minute, and is reset by a successful write.
//
// THREADS: none of its own; the disk tier holds its mutex around every call.
#pragma once

#include <chrono>
#include <string>

namespace tensorcache::disk {

class Health {
 public:
  using Time = std::chrono::steady_clock::time_point;
  explicit Health(std::chrono::milliseconds retry_pause) : retry_pause_(retry_pause) {}

  [[nodiscard]] bool broken() const { return broken_; }
  // RETURNS the reason of the last failure; empty while the disk works.
  [[nodiscard]] const std::string& reason() const { return reason_; }
  // REQUIRES: the disk is broken.
  [[nodiscard]] Time retry_at() const { return retry_at_; }

  // RETURNS: true if the disk worked until now.
  bool fail(std::string reason, Time now) noexcept;
  // The same without a reason, for when there is no memory for one.
  void fail(Time now) noexcept;
  void heal() noexcept;
  void wrote() noexcept { pause_ = {}; }

 private:
  const std::chrono::milliseconds retry_pause_;
  bool broken_ = false;
  std::string reason_;
  Time retry_at_{};
  std::chrono::milliseconds pause_{0};
};

}   // namespace tensorcache::disk
