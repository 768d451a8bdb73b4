#include "app/commands/log_sink.h"

#include <poll.h>
#include <spdlog/pattern_formatter.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <string_view>
#include <utility>

namespace tensorcache::commands {
namespace {

constexpr std::chrono::milliseconds kGatherFor{100}, kPollFor{50};
constexpr std::chrono::seconds kFlushFor{1};
constexpr std::size_t kGatherBytes = 64u << 10, kMaxBytes = 1u << 20;

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

LogSink::~LogSink() { flush(); }   // afterwards the thread stops at once

void LogSink::log(const spdlog::details::log_msg& message) {
  const bool gathers = !terminal_ && message.logger_name == kRequestLogger;
  bool wakes = false;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() > kMaxBytes) {
      ++dropped_;
      return;
    }
    wakes = waiting_.empty() || (!gathers && !urgent_);
    urgent_ = urgent_ || !gathers;
    append_dropped_locked();
    append_locked(message);
  }
  if (wakes) changed_.notify_all();
}

void LogSink::append_dropped_locked() {
  if (dropped_ == 0) return;
  const std::string text = std::to_string(std::exchange(dropped_, 0)) + " log lines were dropped: the reader of the log is too slow";
  append_locked({"tensorcache", spdlog::level::warn, text});
}

void LogSink::append_locked(const spdlog::details::log_msg& message) {
  spdlog::memory_buf_t line;
  formatter_->format(message, line);
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
  std::unique_lock lock(mutex_);
  urgent_ = true;
  changed_.notify_all();
  changed_.wait_for(lock, kFlushFor, [this] { return waiting_.empty() && !writing_; });
}

void LogSink::write_behind(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [this] { return !waiting_.empty(); })) {
    // Waits for more lines, unless there are many or an urgent one.
    changed_.wait_for(lock, stop, kGatherFor, [this] { return urgent_ || waiting_.size() >= kGatherBytes; });
    const std::string text = std::exchange(waiting_, {});
    urgent_ = false;
    writing_ = true;
    lock.unlock();
    const bool goes_on = write_all(text, stop);
    lock.lock();
    writing_ = false;
    changed_.notify_all();
    if (!goes_on) return;
  }
}

// Writes without blocking: poll() says that the pipe accepts this much. RETURNS false if told to
// stop.
bool LogSink::write_all(std::string_view text, const std::stop_token& stop) const {
  while (!text.empty()) {
    pollfd ready{file_, POLLOUT, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(kPollFor.count()));
    if (stop.stop_requested()) return false;
    if (count == 0 || (count < 0 && errno == EINTR)) continue;
    const ssize_t written = ::write(file_, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written < 0) return true;   // the reader is gone
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

void LogSink::set_pattern(const std::string& pattern) { set_formatter(std::make_unique<spdlog::pattern_formatter>(pattern)); }

void LogSink::set_formatter(std::unique_ptr<spdlog::formatter> formatter) {
  const std::lock_guard lock(mutex_);
  formatter_ = std::move(formatter);
}

}   // namespace tensorcache::commands
