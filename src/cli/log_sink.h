// Standard error as spdlog's sink. Lines of the logger "request" are gathered for a moment and written together, as a system call for each would
// take longer than a cached answer; every other line is written at once, with what was gathered before it.
#pragma once

#include <spdlog/sinks/sink.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace tensorcache {

inline constexpr const char* kRequestLogger = "request";

// Threads: all members from any thread. Where nobody reads, at most a MiB is kept; lines of requests beyond it are dropped, and said to be.
class LogSink final : public spdlog::sinks::sink {
 public:
  explicit LogSink(int file);
  ~LogSink() override;

  void log(const spdlog::details::log_msg& message) override;
  void flush() override;
  void set_pattern(const std::string& pattern) override;
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override;

 private:
  void append_coloured(const spdlog::details::log_msg& message, const spdlog::memory_buf_t& line);
  void write_behind(const std::stop_token& stop);

  const int file_;
  const bool terminal_;
  std::mutex write_mutex_;   // taken before mutex_
  std::mutex mutex_;         // guards all below
  std::condition_variable_any gathered_;
  std::unique_ptr<spdlog::formatter> formatter_;
  std::string waiting_;
  std::uint64_t dropped_ = 0;
  std::jthread writer_;
};

}   // namespace tensorcache
