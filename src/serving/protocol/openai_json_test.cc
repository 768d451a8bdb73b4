#include "serving/protocol/openai_json.h"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include <set>

namespace tensorcache::protocol {
namespace {

const ReplyHead kChatHead{Format::kChat, "m\"", "tc-0", 5, true};
const ReplyHead kTextHead{Format::kCompletion, "m", "tc-0", 5, true};

engine::Delta token(std::string text, std::string bytes) { return {std::move(text), {{{3, std::move(bytes), -0.5f}, {{4, "\xC3", -1.0f}}}}}; }

TEST(OpenAiJson, IdsDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(random_id("x-"));
  EXPECT_EQ(ids.size(), 1000u);
}

TEST(OpenAiJson, ChatLogprobsCarryTheBytesOfPartsOfCharacters) {
  OpenAiReply reply(kChatHead);
  reply.add(token("", "\xC3"));
  reply.add(token("é", "\xA9"));
  const auto json = boost::json::parse(reply.finish({engine::FinishReason::kLength, {}, {}}));
  EXPECT_EQ(json.at("model"), "m\"");
  const auto& content = json.at("choices").at(0).at("logprobs").at("content");
  EXPECT_EQ(content.at(0),
            boost::json::parse(R"({"token":"\ufffd","logprob":-0.5,"bytes":[195],"top_logprobs":[{"token":"\ufffd","logprob":-1,"bytes":[195]}]})"));
  EXPECT_EQ(content.at(1).at("bytes"), boost::json::parse("[169]"));
  EXPECT_EQ(json.at("choices").at(0).at("finish_reason"), "length");
}

TEST(OpenAiJson, CompletionLogprobsSpellPartsOfCharacters) {
  OpenAiReply reply(kTextHead);
  reply.add(token("", "\xC3"));
  reply.add(token("é", "\xA9"));
  reply.add(token("z", "z"));
  const auto json = boost::json::parse(reply.finish({}));
  const auto& logprobs = json.at("choices").at(0).at("logprobs");
  EXPECT_EQ(logprobs.at("tokens"), boost::json::parse(R"(["bytes:\\xc3","bytes:\\xa9","z"])"));
  EXPECT_EQ(logprobs.at("text_offset"), boost::json::parse("[0,1,1]"));
  EXPECT_EQ(logprobs.at("top_logprobs").at(0), boost::json::parse(R"({"bytes:\\xc3":-1})"));
}

TEST(OpenAiJson, ADeltaWithoutTextIsSentForItsLogprobsOnly) {
  OpenAiStream with(kChatHead), without({Format::kChat, "m", "tc-0", 5});
  std::string out;
  with.delta(out, token("", "\xC3"));
  EXPECT_NE(out.find("195"), std::string::npos);
  out.clear();
  without.delta(out, token("", "\xC3"));
  EXPECT_EQ(out, "");
}

TEST(OpenAiJson, CompletionOffsetsGoOnAcrossChunks) {
  OpenAiStream reply(kTextHead);
  std::string out;
  reply.delta(out, token("ab", "ab"));
  out.clear();
  reply.delta(out, token("c", "c"));
  EXPECT_NE(out.find("\"text_offset\":[2]"), std::string::npos) << out;
}

}   // namespace
}   // namespace tensorcache::protocol
