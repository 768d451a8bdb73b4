// Progress of a long task: one updated line on a terminal; otherwise log lines, or nothing.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace tensorcache::commands {

// THREADS: one at a time.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;
  struct Output {
    bool terminal = false;                          // `draw` writes to a terminal
    std::function<void(const std::string&)> draw;   // draws on the terminal
    std::function<void(const std::string&)> log;    // writes a log line if there is no terminal; empty: none
    std::function<Clock::time_point()> now = [] { return Clock::now(); };
  };
  // Draws on standard error, or logs (level info, which both require) if that is no terminal.
  [[nodiscard]] static Output to_log();
  // Draws on standard error if it is a terminal; no output otherwise.
  [[nodiscard]] static Output to_terminal();

  explicit Progress(Output output);
  ~Progress() { done(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Shows that `share` (0 to 1) of the task is done. The line is updated at most ten times per
  // second, after the first half second. The log gets a line per tenth, at most one per second,
  // after the first second.
  void show(const std::string& what, double share);
  // Erases the progress line.
  void done();

 private:
  Output output_;
  Clock::time_point next_;
  bool drawn_ = false;
  int logged_percent_ = 0;
};

}   // namespace tensorcache::commands
