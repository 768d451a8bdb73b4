#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "serving/protocol/anthropic_json.h"
#include "serving/protocol/parse_request.h"

namespace tensorcache::protocol {
namespace {

using Result = std::variant<ParsedRequest, Problem>;

Result parse(const std::string& fields) { return parse_request(Format::kMessages, "{" + fields + "}", 1000); }
Result with(const std::string& fields) { return parse(R"("messages":[{"role":"user","content":"hi"}],)" + fields); }

engine::Request good(const Result& result) {
  if (const Problem* problem = std::get_if<Problem>(&result)) {
    ADD_FAILURE() << problem->message;
    return {};
  }
  return *std::get<ParsedRequest>(result).request;
}

std::string bad(const Result& result) {
  const Problem* problem = std::get_if<Problem>(&result);
  return problem ? problem->param : "accepted";
}

TEST(AnthropicRequest, AConversationWithToolsIsTheSameRequestAsInAChat) {
  const engine::Request request = good(parse(R"("model":"m","max_tokens":9,"temperature":0,"top_k":5,"stop_sequences":["x"],
    "system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral"}}],
    "tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true},
    "messages":[{"role":"user","content":"hi"},
      {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"wait"},
        {"type":"tool_use","id":"t1","name":"f","input":{"a":1}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"4"}]},{"type":"text","text":"so?"}]}])"));
  const Result chat = parse_request(Format::kChat, R"({"model":"m","max_tokens":9,"temperature":0,"top_k":5,"stop":["x"],
    "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}],"tool_choice":"required",
    "parallel_tool_calls":false,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},
      {"role":"assistant","content":"wait","reasoning_content":"hm","tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
      {"role":"tool","tool_call_id":"t1","content":"4"},{"role":"user","content":"so?"}]})",
                                    1000);
  const engine::Request expected = good(chat);
  EXPECT_EQ(request.messages, expected.messages);
  EXPECT_EQ(request.chat, expected.chat);
  EXPECT_EQ(request.sampling, expected.sampling);
  EXPECT_EQ(request.stop, expected.stop);
  EXPECT_EQ(request.max_tokens, expected.max_tokens);
}

TEST(AnthropicRequest, AMessageOfResultsOnlyHasNoEmptyTurnAfterThem) {
  const auto messages = good(parse(R"("messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f"}]},
    {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]}])"))
                            .messages;
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].tool_calls[0].arguments, "{}");
  EXPECT_EQ(messages[1].role, "tool");
}

TEST(AnthropicRequest, WhatIsWrongIsNamed) {
  EXPECT_EQ(bad(parse("\"max_tokens\":5")), "messages");
  const auto message = [](const std::string& value) { return bad(parse("\"messages\":[" + value + "]")); };
  EXPECT_EQ(message("1"), "messages[0]");
  EXPECT_EQ(message(R"({"role":"tool","content":"a"})"), "messages[0].role");
  EXPECT_EQ(message(R"({"role":"user"})"), "messages[0].content");
  EXPECT_EQ(message(R"({"role":"user","content":[{"type":"image"}]})"), "messages[0].content[0].type");
  EXPECT_EQ(message(R"({"role":"user","content":[{"text":"a"}]})"), "messages[0].content[0].type");
  EXPECT_EQ(message(R"({"role":"user","content":[{"type":"text"}]})"), "messages[0].content[0].text");
  EXPECT_EQ(message(R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"nobody"}]})"), "messages");
  EXPECT_EQ(bad(with(R"("tools":[{"name":"f"}])")), "tools[0].input_schema");
  EXPECT_EQ(bad(with(R"("tools":[{"type":"web_search_20250305","name":"f"}])")), "tools[0].type");
  EXPECT_EQ(bad(with(R"("tools":[{"input_schema":{}}])")), "tools[0].name");
  EXPECT_EQ(bad(with(R"("tool_choice":{"type":"tool","name":"g"})")), "tool_choice.name");
  EXPECT_EQ(bad(with(R"("tool_choice":{"type":"x"})")), "tool_choice.type");
  EXPECT_EQ(bad(with(R"("thinking":{"type":"x"})")), "thinking.type");
  EXPECT_EQ(bad(with(R"("stop_sequences":[""])")), "stop_sequences[0]");
  EXPECT_EQ(bad(with(R"("thinking":{"type":"enabled","budget_tokens":1024},"metadata":{"user_id":"u"},"betas":["x"],"max_tokens":1)")), "accepted");
}

ReplyHead head() { return {Format::kMessages, "m", "tc-0", 5}; }

TEST(AnthropicJson, AWholeReply) {
  AnthropicReply reply(head());
  reply.add({"he", {}, "hm"});
  reply.add({"llo", {}, "", {{0, "t1", "f", "{\"a\""}, {1, "t2", "g", "{\"cut"}}});
  reply.add({"", {}, "", {{0, "", "", ":1}"}}});
  const auto json = boost::json::parse(reply.finish({engine::FinishReason::kToolCalls, {10, 4, 6}, ""}));
  EXPECT_TRUE(json.at("id").as_string().starts_with("msg_"));
  EXPECT_EQ(json.at("content"), boost::json::parse(R"([{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"hello"},
    {"type":"tool_use","id":"t1","name":"f","input":{"a":1}},{"type":"tool_use","id":"t2","name":"g","input":{}}])"));
  EXPECT_EQ(json.at("stop_reason"), "tool_use");
  EXPECT_EQ(json.at("usage"),
            boost::json::parse(R"({"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":6,"output_tokens":4})"));
}

TEST(AnthropicJson, StopReasons) {
  const auto reason = [](const ReplyEnd& end) {
    return std::string(boost::json::parse(AnthropicReply(head()).finish(end)).at("stop_reason").as_string());
  };
  EXPECT_EQ(reason({}), "end_turn");
  EXPECT_EQ(reason({engine::FinishReason::kLength, {}, ""}), "max_tokens");
  EXPECT_EQ(reason({engine::FinishReason::kStop, {}, "x"}), "stop_sequence");
}

std::vector<boost::json::value> events_of(const std::string& stream) {
  std::vector<boost::json::value> events;
  for (std::size_t at = stream.find("data: "); at != std::string::npos; at = stream.find("data: ", at + 1)) {
    events.push_back(boost::json::parse(stream.substr(at + 6, stream.find('\n', at) - at - 6)));
    EXPECT_NE(stream.find("event: " + std::string(events.back().at("type").as_string()) + "\n"), std::string::npos);
  }
  return events;
}

TEST(AnthropicJson, AStreamHasItsBlocksOneAfterTheOther) {
  AnthropicStream stream(head());
  std::string out;
  stream.begin(out, {10, 0, 6});
  stream.delta(out, {"", {}, "hm"});
  stream.delta(out, {"a", {}});
  stream.delta(out, {"b", {}, "", {{0, "t1", "f", "{"}}});
  stream.delta(out, {"", {}, "", {{0, "", "", "}"}, {1, "t2", "g", ""}}});
  stream.finish(out, {engine::FinishReason::kToolCalls, {10, 4, 6}, ""});
  std::string shape;
  for (const auto& event : events_of(out)) {
    shape += std::string(event.at("type").as_string());
    if (const auto* index = event.as_object().if_contains("index")) shape += std::to_string(index->as_int64());
    if (const auto* delta = event.as_object().if_contains("delta"); delta && delta->as_object().contains("type")) {
      shape += ":" + std::string(delta->at("type").as_string());
    }
    shape += ' ';
  }
  EXPECT_EQ(shape,
            "message_start content_block_start0 content_block_delta0:thinking_delta content_block_delta0:signature_delta content_block_stop0 "
            "content_block_start1 content_block_delta1:text_delta content_block_delta1:text_delta content_block_stop1 "
            "content_block_start2 content_block_delta2:input_json_delta content_block_delta2:input_json_delta content_block_stop2 "
            "content_block_start3 content_block_stop3 message_delta message_stop ");
}

TEST(AnthropicJson, AnEmptyAnswerStillHasABlock) {
  AnthropicStream stream(head());
  std::string out;
  stream.begin(out, {});
  stream.finish(out, {});
  EXPECT_EQ(events_of(out).size(), 5u);
}

TEST(AnthropicJson, ErrorsHaveAnthropicsForm) {
  EXPECT_EQ(boost::json::parse(problem_json({503, "later", "", "", 1}, Format::kMessages)),
            boost::json::parse(R"({"type":"error","error":{"type":"overloaded_error","message":"later","param":null,"code":null}})"));
  EXPECT_EQ(boost::json::parse(problem_json(bad_field("tools", "no"), Format::kMessages)).at("error").at("type"), "invalid_request_error");
}

}   // namespace
}   // namespace tensorcache::protocol
