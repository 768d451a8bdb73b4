#include "cli/log_sink.h"

#include <poll.h>
#include <spdlog/pattern_formatter.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

namespace tensorcache {
namespace {

constexpr std::chrono::milliseconds kGatherFor{100};
constexpr std::size_t kGatherBytes = 64u << 10, kMostBytes = 1u << 20;

void write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(file, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {   // a pipe that somebody made not to block
      pollfd ready{file, POLLOUT, 0};
      static_cast<void>(::poll(&ready, 1, -1));
      continue;
    }
    if (count < 0) return;   // nobody is left to tell
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

std::string_view colour_of(spdlog::level::level_enum level) {
  constexpr std::array<std::string_view, 7> kColours{"\033[37m", "\033[36m", "\033[32m", "\033[33m\033[1m", "\033[31m\033[1m", "\033[1m\033[41m", ""};
  return kColours[static_cast<std::size_t>(level)];
}

}   // namespace

LogSink::LogSink(int file)
    : file_(file),
      terminal_(::isatty(file) != 0),
      formatter_(std::make_unique<spdlog::pattern_formatter>()),
      writer_([this](const std::stop_token& stop) { write_behind(stop); }) {}

LogSink::~LogSink() {
  writer_.request_stop();
  writer_.join();
  flush();
}

void LogSink::log(const spdlog::details::log_msg& message) {
  const bool gathers = !terminal_ && message.logger_name == kRequestLogger;
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (gathers && waiting_.size() > kMostBytes) {
      ++dropped_;
      return;
    }
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    first = waiting_.empty();
    append_coloured(message, line);
  }
  if (!gathers) {
    flush();
  } else if (first) {
    gathered_.notify_one();
  }
}

void LogSink::append_coloured(const spdlog::details::log_msg& message, const spdlog::memory_buf_t& line) {
  const std::string_view text(line.data(), line.size());
  if (!terminal_ || message.color_range_end <= message.color_range_start) {
    waiting_ += text;
    return;
  }
  waiting_ += text.substr(0, message.color_range_start);
  waiting_ += colour_of(message.level);
  waiting_ += text.substr(message.color_range_start, message.color_range_end - message.color_range_start);
  waiting_ += "\033[m";
  waiting_ += text.substr(message.color_range_end);
}

void LogSink::flush() {
  const std::lock_guard writing(write_mutex_);
  std::string text;
  std::uint64_t dropped = 0;
  {
    const std::lock_guard lock(mutex_);
    text.swap(waiting_);
    dropped = std::exchange(dropped_, 0);
  }
  write_all(file_, text);
  if (dropped > 0) write_all(file_, std::to_string(dropped) + " lines of requests were dropped: whoever reads the log was too slow\n");
}

void LogSink::write_behind(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      if (!gathered_.wait(lock, stop, [this] { return !waiting_.empty(); })) return;
      // Until there is much, or for a moment.
      gathered_.wait_for(lock, stop, kGatherFor, [this] { return waiting_.size() >= kGatherBytes; });
    }
    flush();
  }
}

void LogSink::set_pattern(const std::string& pattern) { set_formatter(std::make_unique<spdlog::pattern_formatter>(pattern)); }

void LogSink::set_formatter(std::unique_ptr<spdlog::formatter> formatter) {
  const std::lock_guard lock(mutex_);
  formatter_ = std::move(formatter);
}

}   // namespace tensorcache
