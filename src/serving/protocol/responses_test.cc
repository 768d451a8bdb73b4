#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "serving/protocol/parse_request.h"
#include "serving/protocol/responses_json.h"

namespace tensorcache::protocol {
namespace {

using Result = std::variant<ParsedRequest, Problem>;

Result parse(const std::string& fields) { return parse_request(Format::kResponses, "{" + fields + "}", 1000); }
Result with(const std::string& fields) { return parse("\"input\":\"hi\"," + fields); }

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

TEST(ResponsesRequest, AConversationWithToolsIsTheSameRequestAsInAChat) {
  const engine::Request request = good(parse(R"("model":"m","max_output_tokens":9,"temperature":0,"instructions":"be brief","store":true,
    "tools":[{"type":"function","name":"f","description":"d","parameters":{"type":"object"},"strict":true}],"tool_choice":{"type":"function","name":"f"},
    "parallel_tool_calls":false,"text":{"format":{"type":"text"}},"reasoning":{"effort":"low"},
    "input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]},
      {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},
      {"type":"message","role":"assistant","id":"msg_1","status":"completed","content":[{"type":"output_text","text":"wait","annotations":[]}]},
      {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{\"a\":1}","status":"completed"},
      {"type":"function_call_output","call_id":"c1","output":"4"}])"));
  const engine::Request expected = good(parse_request(Format::kChat, R"({"model":"m","max_tokens":9,"temperature":0,"reasoning_effort":"low",
    "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}],"tool_choice":"required",
    "parallel_tool_calls":false,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"},
      {"role":"assistant","content":"wait","reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
      {"role":"tool","tool_call_id":"c1","content":"4"}]})",
                                                      1000));
  EXPECT_EQ(request.messages, expected.messages);
  EXPECT_EQ(request.chat, expected.chat);
  EXPECT_EQ(request.sampling, expected.sampling);
  EXPECT_EQ(request.max_tokens, expected.max_tokens);
}

TEST(ResponsesRequest, TextFormats) {
  EXPECT_EQ(good(with(R"("text":{"format":{"type":"json_object"}})")).json_schema, R"({"type":"object"})");
  EXPECT_EQ(good(with(R"("text":{"format":{"type":"json_schema","name":"n","schema":{"a":1},"strict":true},"verbosity":"low"})")).json_schema,
            R"({"a":1})");
}

TEST(ResponsesRequest, WhatIsWrongIsNamed) {
  EXPECT_EQ(bad(parse("\"model\":\"m\"")), "input");
  EXPECT_EQ(bad(parse("\"input\":[]")), "input");
  const auto item = [](const std::string& value) { return bad(parse("\"input\":[" + value + "]")); };
  EXPECT_EQ(item("1"), "input[0]");
  EXPECT_EQ(item(R"({"role":"user"})"), "input[0].content");
  EXPECT_EQ(item(R"({"role":"robot","content":"a"})"), "input[0].role");
  EXPECT_EQ(item(R"({"type":"item_reference","id":"x"})"), "input[0].type");
  EXPECT_EQ(item(R"({"role":"user","content":[{"type":"input_image"}]})"), "input[0].content[0].type");
  EXPECT_EQ(item(R"({"type":"function_call","call_id":"c","name":"f"})"), "input[0].arguments");
  EXPECT_EQ(item(R"({"type":"function_call_output","call_id":"c"})"), "input[0].output");
  EXPECT_EQ(bad(with(R"("tools":[{"type":"function"}])")), "tools[0].name");
  EXPECT_EQ(bad(with(R"("tools":[{"type":"web_search"}])")), "tools[0].type");
  EXPECT_EQ(bad(with(R"("tool_choice":{"type":"function","name":"g"})")), "tool_choice.name");
  EXPECT_EQ(bad(with(R"("text":{"format":{"type":"json_schema","schema":1}})")), "text.format.schema");
  EXPECT_EQ(bad(with(R"("previous_response_id":"resp_1")")), "previous_response_id");
  EXPECT_EQ(bad(with(R"("background":true)")), "background");
  EXPECT_EQ(bad(with(R"("max_output_tokens":0)")), "max_output_tokens");
}

TEST(ResponsesJson, AWholeReply) {
  engine::Request request;
  request.chat.tools = {{"f", "d", "{}"}};
  request.max_tokens = 7;
  ReplyHead head{Format::kResponses, "m", "tc-0", 5};
  head.request = &request;
  ResponsesReply reply(head);
  reply.add({"he\"", {}, "hm"});
  reply.add({"y", {}, "", {{0, "c1", "f", "{}"}}});
  const auto json = boost::json::parse(reply.finish({engine::FinishReason::kToolCalls, {10, 4, 6}, ""}));
  EXPECT_EQ(json.at("object"), "response");
  EXPECT_EQ(json.at("status"), "completed");
  EXPECT_EQ(json.at("created_at"), 5);
  EXPECT_EQ(json.at("max_output_tokens"), 7);
  EXPECT_EQ(json.at("tools").at(0).at("name"), "f");
  const auto& output = json.at("output").as_array();
  ASSERT_EQ(output.size(), 3u);
  EXPECT_EQ(output[0].at("content").at(0).at("text"), "hm");
  EXPECT_EQ(output[1].at("content").at(0).at("text"), "he\"y");
  EXPECT_EQ(output[2].at("call_id"), "c1");
  EXPECT_EQ(output[2].at("arguments"), "{}");
  EXPECT_EQ(json.at("usage").at("input_tokens_details").at("cached_tokens"), 6);
  EXPECT_EQ(json.at("usage").at("total_tokens"), 14);
}

TEST(ResponsesJson, ACutAnswerIsIncomplete) {
  const auto json = boost::json::parse(ResponsesReply({Format::kResponses, "m", "tc-0", 5}).finish({engine::FinishReason::kLength, {}, ""}));
  EXPECT_EQ(json.at("status"), "incomplete");
  EXPECT_EQ(json.at("incomplete_details").at("reason"), "max_output_tokens");
}

TEST(ResponsesJson, AStreamNumbersItsEventsAndEndsWithAllOfIt) {
  ResponsesStream stream({Format::kResponses, "m", "tc-0", 5});
  std::string out;
  stream.begin(out, {});
  stream.delta(out, {"", {}, "hm"});
  stream.delta(out, {"a", {}});
  stream.delta(out, {"b", {}, "", {{0, "c1", "f", "{"}}});
  stream.delta(out, {"", {}, "", {{0, "", "", "}"}}});
  stream.finish(out, {engine::FinishReason::kToolCalls, {10, 4, 6}, ""});
  std::string shape;
  boost::json::value last;
  std::int64_t number = 0;
  for (std::size_t at = out.find("data: "); at != std::string::npos; at = out.find("data: ", at + 1)) {
    last = boost::json::parse(out.substr(at + 6, out.find('\n', at) - at - 6));
    EXPECT_EQ(last.at("sequence_number"), number++);
    shape += std::string(last.at("type").as_string()).substr(9) + ' ';
  }
  EXPECT_EQ(shape,
            "created in_progress output_item.added reasoning_text.delta reasoning_text.done output_item.done "
            "output_item.added content_part.added output_text.delta output_text.delta output_text.done content_part.done output_item.done "
            "output_item.added function_call_arguments.delta function_call_arguments.delta function_call_arguments.done output_item.done completed ");
  const auto& output = last.at("response").at("output").as_array();
  ASSERT_EQ(output.size(), 3u);
  EXPECT_EQ(output[1].at("content").at(0).at("text"), "ab");
  EXPECT_EQ(output[2].at("arguments"), "{}");
}

}   // namespace
}   // namespace tensorcache::protocol
