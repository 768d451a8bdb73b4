// A long task's progress: one moving line on a terminal; elsewhere lines in the log, or nothing.
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
    bool terminal = false;                          // there is one to draw on
    std::function<void(const std::string&)> draw;   // onto it
    std::function<void(const std::string&)> log;    // a line, where there is no terminal; empty: nothing is said
    std::function<Clock::time_point()> now = [] { return Clock::now(); };
  };
  // Standard error, and the log (at level info, which must be on for either) where that is no
  // terminal.
  [[nodiscard]] static Output to_log();
  // Standard error if it is a terminal, and nothing otherwise.
  [[nodiscard]] static Output to_terminal();

  explicit Progress(Output output);
  ~Progress() { done(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `share` of the task is done, 0 to 1. The line moves ten times a second at most, after the first
  // half second. The log gets a line for each tenth, one a second at most, after the first second.
  void show(const std::string& what, double share);
  // Clears the moving line.
  void done();

 private:
  Output output_;
  Clock::time_point next_;
  bool drawn_ = false;
  int logged_percent_ = 0;
};

}   // namespace tensorcache::commands
