#include "app/commands/progress.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace tensorcache::commands {
namespace {

constexpr std::chrono::milliseconds kFirstDraw{500}, kBetweenDraws{100};
constexpr std::chrono::seconds kBetweenLogs{1};

void draw_on_stderr(const std::string& text) { std::fputs(text.c_str(), stderr); }

// RETURNS "loading m.gguf [######            ]  20 %".
std::string bar(const std::string& what, double share) {
  constexpr std::size_t kWidth = 30;
  const auto done = static_cast<std::size_t>(share * kWidth);
  char percent[16];
  std::snprintf(percent, sizeof percent, "] %3.0f %%", 100 * share);
  return what + " [" + std::string(done, '#') + std::string(kWidth - done, ' ') + percent;
}

}   // namespace

Progress::Output Progress::to_log() {
  if (!spdlog::should_log(spdlog::level::info)) return {};
  Output output = to_terminal();
  output.log = [](const std::string& line) { spdlog::info("{}", line); };
  return output;
}

Progress::Output Progress::to_terminal() {
  Output output;
  output.terminal = isatty(STDERR_FILENO) != 0;
  output.draw = draw_on_stderr;
  return output;
}

Progress::Progress(Output output) : output_(std::move(output)), next_(output_.now() + (output_.terminal ? kFirstDraw : kBetweenLogs)) {}

void Progress::show(const std::string& what, double share) {
  const Clock::time_point now = output_.now();
  if (now < next_) return;
  share = std::clamp(share, 0.0, 1.0);
  if (output_.terminal) {
    output_.draw("\r\033[K" + bar(what, share));
    drawn_ = true;
    next_ = now + kBetweenDraws;
    return;
  }
  const int percent = static_cast<int>(share * 100);
  if (!output_.log || percent / 10 <= logged_percent_ / 10) return;
  output_.log(what + " " + std::to_string(percent) + "%");
  logged_percent_ = percent;
  next_ = now + kBetweenLogs;
}

void Progress::done() {
  if (drawn_) output_.draw("\r\033[K");
  drawn_ = false;
}

}   // namespace tensorcache::commands
