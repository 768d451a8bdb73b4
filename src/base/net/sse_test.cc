#include "base/net/sse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tensorcache::net {
namespace {

using ::testing::ElementsAre;

const std::string kStream = ": a comment\n\ndata: {\"a\":1}\n\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\nid: 7\n\ndata: [DONE]\n\n";

TEST(Sse, EventsOfAWholeStream) {
  SseParser parser;
  EXPECT_THAT(parser.feed(kStream), ElementsAre("{\"a\":1}", "two\nlines", "[DONE]"));
}

TEST(Sse, CutAnywhereItGivesTheSame) {
  for (std::size_t cut = 0; cut <= kStream.size(); ++cut) {
    SseParser parser;
    std::vector<std::string> events = parser.feed(kStream.substr(0, cut));
    for (std::string& event : parser.feed(kStream.substr(cut))) events.push_back(std::move(event));
    EXPECT_THAT(events, ElementsAre("{\"a\":1}", "two\nlines", "[DONE]")) << "cut at " << cut;
  }
}

TEST(Sse, AnEventIsGivenOnlyWhenItIsComplete) {
  SseParser parser;
  EXPECT_TRUE(parser.feed("data: half").empty());
  EXPECT_TRUE(parser.feed("\n").empty());
  EXPECT_THAT(parser.feed("\n"), ElementsAre("half"));
}

}   // namespace
}   // namespace tensorcache::net
