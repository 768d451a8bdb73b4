// An spdlog sink for standard error. A thread of its own writes, so that a slow reader blocks no
// logging thread. Lines of the logger "request" are batched briefly, because one system call per
// line would take longer than a cached response; other lines are written at once, after the batched
// ones.
#pragma once

#include <spdlog/sinks/sink.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace tensorcache::commands {

inline constexpr const char* kRequestLogger = "request";

// THREADS: all members from any thread. If nothing is read, at most 1 MiB is kept; further lines
// are dropped and counted in a line of their own.
class LogSink final : public spdlog::sinks::sink {
 public:
  explicit LogSink(int file);
  // Flushes.
  ~LogSink() override;

  void log(const spdlog::details::log_msg& message) override;
  // Waits until everything so far is written, for at most one second.
  void flush() override;
  void set_pattern(const std::string& pattern) override;
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override;

 private:
  void append_locked(const spdlog::details::log_msg& message);
  void append_dropped_locked();
  void write_behind(const std::stop_token& stop);
  [[nodiscard]] bool write_all(std::string_view text, const std::stop_token& stop) const;

  const int file_;
  const bool terminal_;
  std::mutex mutex_;   // guards all members below
  std::condition_variable_any changed_;
  std::unique_ptr<spdlog::formatter> formatter_;
  std::string waiting_;
  bool urgent_ = false, writing_ = false;
  std::uint64_t dropped_ = 0;
  std::jthread writer_;
};

}   // namespace tensorcache::commands
