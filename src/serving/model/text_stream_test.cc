#include "serving/model/text_stream.h"

#include <gtest/gtest.h>

#include "base/core/utf8.h"

namespace tensorcache::model {
namespace {

engine::TokenLogprob logprob(int id) { return {.token = {.id = id, .bytes = "", .logprob = -1.0f}, .top = {}}; }

// Feeds `text` in pieces of `piece` bytes and returns everything that may be sent.
std::string run(TextStream& stream, std::string_view text, std::size_t piece) {
  std::string sent;
  while (!text.empty() && !stream.stopped()) {
    sent += stream.push(text.substr(0, piece)).text;
    text.remove_prefix(std::min(piece, text.size()));
  }
  if (!stream.stopped()) sent += stream.finish().text;
  return sent;
}

TEST(TextStream, NeverCutsInsideACharacter) {
  const std::string text = "aé€😀z";
  for (std::size_t piece = 1; piece < text.size(); ++piece) {
    TextStream stream({});
    std::string_view rest = text;
    std::string all;
    while (!rest.empty()) {
      const engine::Delta delta = stream.push(rest.substr(0, piece));
      EXPECT_EQ(delta.text, to_valid_utf8(delta.text));
      EXPECT_EQ(delta.text.find("\xEF\xBF\xBD"), std::string::npos) << "a character was cut at piece size " << piece;
      all += delta.text;
      rest.remove_prefix(std::min(piece, rest.size()));
    }
    EXPECT_EQ(all + stream.finish().text, text);
  }
}

TEST(TextStream, StopStringAcrossTokens) {
  for (std::size_t piece = 1; piece <= 12; ++piece) {
    TextStream stream({"END", "\n\nUser:"});
    EXPECT_EQ(run(stream, "hello ENEND world", piece), "hello EN") << piece;
    EXPECT_TRUE(stream.stopped());
    TextStream other({"END", "\n\nUser:"});
    EXPECT_EQ(run(other, "one\n\nUser: two", piece), "one") << piece;
  }
}

TEST(TextStream, TheEarliestStopStringWins) {
  TextStream stream({"world", "lo"});
  EXPECT_EQ(run(stream, "hello world", 11), "hel");
}

TEST(TextStream, WhatOnlyLooksLikeAStopStringIsSent) {
  TextStream stream({"ENDING"});
  EXPECT_EQ(run(stream, "END of it, ENDIN", 1), "END of it, ENDIN");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, StopStringOfManyByteCharacters) {
  for (std::size_t piece = 1; piece <= 4; ++piece) {
    TextStream stream({"€"});
    EXPECT_EQ(run(stream, "aéb€c", piece), "aéb") << piece;
  }
}

TEST(TextStream, BrokenBytesBecomeReplacementCharacters) {
  EXPECT_EQ(to_valid_utf8("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(to_valid_utf8("\xE2\x82"), "\xEF\xBF\xBD");               // unfinished
  EXPECT_EQ(to_valid_utf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");   // overlong
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80").size(), 9u);                // surrogate
  TextStream stream({});
  EXPECT_EQ(stream.push("\xF0\x9F").text, "");
  EXPECT_EQ(stream.finish().text, "\xEF\xBF\xBD");
}

TEST(TextStream, LogprobsComeWithTheTextTheyBelongTo) {
  TextStream stream({"STOP"});
  EXPECT_EQ(stream.push("ab", logprob(1)).logprobs.size(), 1u);
  EXPECT_EQ(stream.push("cS", logprob(2)).logprobs.size(), 0u);   // half of it is held back
  EXPECT_EQ(stream.push("T", logprob(3)).logprobs.size(), 0u);
  const engine::Delta rest = stream.push("x", logprob(4));
  EXPECT_EQ(rest.text, "STx");
  ASSERT_EQ(rest.logprobs.size(), 3u);
  EXPECT_EQ(rest.logprobs[0].token.id, 2);
}

TEST(TextStream, LogprobsOfTheStopStringAreDropped) {
  TextStream stream({"STOP"});
  EXPECT_TRUE(stream.push("S", logprob(1)).logprobs.empty());
  EXPECT_TRUE(stream.push("TO", logprob(2)).logprobs.empty());
  EXPECT_TRUE(stream.push("P", logprob(3)).logprobs.empty());
  EXPECT_TRUE(stream.stopped());
  TextStream other({"STOP"});
  const engine::Delta delta = other.push("xST", logprob(1));
  EXPECT_EQ(delta.text, "x");
  const engine::Delta last = other.push("OP", logprob(2));   // the first token was sent in part, the second not at all
  EXPECT_EQ(last.text, "");
  ASSERT_EQ(last.logprobs.size(), 1u);
  EXPECT_EQ(last.logprobs[0].token.id, 1);
  EXPECT_TRUE(other.stopped());
}

}   // namespace
}   // namespace tensorcache::model
