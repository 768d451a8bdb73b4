// Adds the time of a scope to a counter.
#pragma once

#include <chrono>

namespace tensorcache::llama {

class Timer {
 public:
  explicit Timer(double* seconds) : seconds_(seconds) {}
  ~Timer() { *seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  double* seconds_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}   // namespace tensorcache::llama
