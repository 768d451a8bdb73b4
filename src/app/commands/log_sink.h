// An spdlog sink for standard error. A thread of its own writes, so that a slow reader of the log
// blocks no logging thread. Lines of the logger "request" are batched briefly, because a system
// call per line would take longer than a cached response; every other line is written at once,
// after the batched ones.
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

// Threads: all members from any thread. Where nobody reads, at most a MiB is kept; lines beyond it
// are dropped, and a line says how many.
class LogSink final : public spdlog::sinks::sink {
 public:
  explicit LogSink(int file);
  // As flush().
  ~LogSink() override;

  void log(const spdlog::details::log_msg& message) override;
  // Until everything so far is written, or a second has passed.
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
  std::mutex mutex_;   // guards all below
  std::condition_variable_any changed_;
  std::unique_ptr<spdlog::formatter> formatter_;
  std::string waiting_;
  bool urgent_ = false, writing_ = false;
  std::uint64_t dropped_ = 0;
  std::jthread writer_;
};

}   // namespace tensorcache::commands
