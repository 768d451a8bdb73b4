#include "app/commands/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace tensorcache::commands {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

struct ProgressTest : ::testing::Test {
  Progress::Output output(bool terminal) {
    return {.terminal = terminal,
            .draw = [this](const std::string& text) { drawn.push_back(text); },
            .log = [this](const std::string& line) { logged.push_back(line); },
            .now = [this] { return now; }};
  }
  Progress::Clock::time_point now;
  std::vector<std::string> drawn, logged;
};

TEST_F(ProgressTest, MovesALineOnATerminalAndClearsIt) {
  {
    Progress progress(output(true));
    progress.show("reading", 0.1);   // too early
    now += milliseconds(500);
    progress.show("reading", 0.5);
    now += milliseconds(50);
    progress.show("reading", 0.6);   // too soon
    now += milliseconds(50);
    progress.show("reading", 2);
  }
  EXPECT_THAT(drawn, ElementsAre("\r\033[Kreading [###############               ]  50 %", "\r\033[Kreading [##############################] 100 %",
                                 "\r\033[K"));
  EXPECT_THAT(logged, ElementsAre());
}

TEST_F(ProgressTest, LeavesATerminalAloneWhereTheTaskIsShort) {
  {
    Progress(output(true)).show("reading", 0.9);
  }
  EXPECT_THAT(drawn, ElementsAre());
}

TEST_F(ProgressTest, LogsEachTenthOnceASecondAtMost) {
  Progress progress(output(false));
  progress.show("loading", 0.5);   // too early
  for (const double share : {0.05, 0.31, 0.35, 0.42}) {
    now += milliseconds(1000);
    progress.show("loading", share);
  }
  progress.show("loading", 0.9);   // too soon
  EXPECT_THAT(logged, ElementsAre("loading 31%", "loading 42%"));
  EXPECT_THAT(drawn, ElementsAre());
}

TEST_F(ProgressTest, SaysNothingWhereThereIsNobody) {
  Progress progress({.terminal = false, .draw = {}, .log = {}, .now = [this] { return now; }});
  now += milliseconds(5000);
  progress.show("loading", 0.5);
  progress.done();
}

}   // namespace
}   // namespace tensorcache::commands
