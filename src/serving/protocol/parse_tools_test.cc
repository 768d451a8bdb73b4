#include <gtest/gtest.h>

#include "serving/protocol/parse_request.h"

namespace tensorcache::protocol {
namespace {

using Result = std::variant<ParsedRequest, Problem>;

constexpr const char* kTool = R"({"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}})";

Result with(const std::string& fields, const std::string& messages = R"([{"role":"user","content":"hi"}])") {
  return parse_request(Format::kChat, "{\"messages\":" + messages + "," + fields + "}", 1000);
}

engine::Request good(const Result& result) {
  if (const Problem* problem = std::get_if<Problem>(&result)) {
    ADD_FAILURE() << problem->message;
    return {};
  }
  return *std::get<ParsedRequest>(result).request;
}

// The field that is wrong, or "accepted".
std::string bad(const Result& result) {
  const Problem* problem = std::get_if<Problem>(&result);
  return problem ? problem->param : "accepted";
}

std::string tools(const std::string& list) { return "\"tools\":[" + list + "]"; }

TEST(ParseTools, ToolsAndChoiceArrive) {
  const engine::ChatOptions chat = good(with(tools(kTool) + R"(,"tool_choice":"required","parallel_tool_calls":false)")).chat;
  EXPECT_EQ(chat.tools, (std::vector<engine::Tool>{{"f", "d", R"({"type":"object"})"}}));
  EXPECT_EQ(chat.tool_choice, engine::ToolChoice::kRequired);
  EXPECT_EQ(chat.parallel_tool_calls, false);
  EXPECT_EQ(good(with(tools(kTool) + R"(,"tool_choice":"none")")).chat.tool_choice, engine::ToolChoice::kNone);
  EXPECT_EQ(good(with(tools(R"({"function":{"name":"g"}})"))).chat.tools, (std::vector<engine::Tool>{{"g", "", "{}"}}));
}

TEST(ParseTools, AChoiceByNameLeavesThatTool) {
  const std::string two = tools(std::string(kTool) + R"(,{"type":"function","function":{"name":"g"}})");
  const engine::ChatOptions chat = good(with(two + R"(,"tool_choice":{"type":"function","function":{"name":"g"}})")).chat;
  ASSERT_EQ(chat.tools.size(), 1u);
  EXPECT_EQ(chat.tools[0].name, "g");
  EXPECT_EQ(chat.tool_choice, engine::ToolChoice::kRequired);
  EXPECT_EQ(bad(with(two + R"(,"tool_choice":{"type":"function","function":{"name":"h"}})")), "tool_choice.function.name");
  EXPECT_EQ(bad(with(R"("tool_choice":{"type":"function","function":{"name":"h"}})")), "tool_choice.function.name");
}

TEST(ParseTools, WrongToolsAreNamed) {
  EXPECT_EQ(bad(with(R"("tools":{})")), "tools");
  EXPECT_EQ(bad(with(tools("1"))), "tools[0]");
  EXPECT_EQ(bad(with(tools(std::string(kTool) + ",{}"))), "tools[1].function");
  EXPECT_EQ(bad(with(tools(R"({"type":"web_search"})"))), "tools[0].type");
  EXPECT_EQ(bad(with(tools(R"({"function":{}})"))), "tools[0].function.name");
  EXPECT_EQ(bad(with(tools(R"({"function":{"name":""}})"))), "tools[0].function.name");
  EXPECT_EQ(bad(with(tools(R"({"function":{"name":"f","parameters":[]}})"))), "tools[0].function.parameters");
  EXPECT_EQ(bad(with(tools(R"({"function":{"name":"f","description":1}})"))), "tools[0].function.description");
  EXPECT_EQ(bad(with(R"("tool_choice":"required")")), "tool_choice");
  for (const char* choice : {"\"some\"", "1", "{}", R"({"type":"custom"})", R"({"type":"function","function":{}})"}) {
    EXPECT_TRUE(bad(with(tools(kTool) + ",\"tool_choice\":" + choice)).starts_with("tool_choice")) << choice;
  }
  EXPECT_EQ(bad(with(tools(kTool) + R"(,"grammar":"root ::= \"a\"")")), "grammar");
}

TEST(ParseTools, CallsAndResultsOfEarlierTurns) {
  const std::string turns = R"([{"role":"user","content":"hi"},
    {"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[
      {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"function":{"name":"g","arguments":{"b":2}}},{"function":{"name":"h"}}]},
    {"role":"tool","tool_call_id":"c1","content":"4"},{"role":"tool","content":[{"type":"text","text":"5"}]}])";
  const std::vector<engine::Message> messages = good(with(tools(kTool), turns)).messages;
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[1].reasoning, "hm");
  EXPECT_EQ(messages[1].tool_calls, (std::vector<engine::ToolCall>{{"c1", "f", R"({"a":1})"}, {"", "g", R"({"b":2})"}, {"", "h", "{}"}}));
  EXPECT_EQ(messages[2].tool_call_id, "c1");
  EXPECT_EQ(messages[3].content, "5");
}

TEST(ParseTools, WrongCallsAreNamed) {
  const auto call = [](const std::string& value) {
    return bad(with("\"seed\":1", R"([{"role":"assistant","tool_calls":[)" + value + R"(]},{"role":"user","content":"a"}])"));
  };
  EXPECT_EQ(call(R"({"function":{"name":"f"}})"), "accepted");
  EXPECT_EQ(call("{}"), "messages[0].tool_calls[0].function");
  EXPECT_EQ(call(R"({"function":{}})"), "messages[0].tool_calls[0].function.name");
  EXPECT_EQ(call(R"({"id":1,"function":{"name":"f"}})"), "messages[0].tool_calls[0].id");
  EXPECT_EQ(call(R"({"function":{"name":"f","arguments":[1]}})"), "messages[0].tool_calls[0].function.arguments");
  EXPECT_EQ(bad(with("\"seed\":1", R"([{"role":"tool","tool_call_id":"c9","content":"a"}])")), "messages[0].tool_call_id") << "of an unknown call";
  EXPECT_EQ(bad(with("\"seed\":1", R"([{"role":"tool","tool_call_id":null,"content":"a"}])")), "accepted");
  EXPECT_EQ(bad(with("\"seed\":1", R"([{"role":"tool","content":null}])")), "messages[0].content");
}

TEST(ParseAnswerForm, SchemasAndGrammars) {
  const auto schema = [](const std::string& fields) { return good(with(fields)).json_schema; };
  EXPECT_EQ(schema(R"("response_format":{"type":"text"})"), "");
  EXPECT_EQ(schema(R"("response_format":{"type":"json_object"})"), R"({"type":"object"})");
  EXPECT_EQ(schema(R"("response_format":{"type":"json_object","schema":{"type":"array"}})"), R"({"type":"array"})");
  EXPECT_EQ(schema(R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"b":1,"a":2}}})"),
            R"({"b":1,"a":2})");
  EXPECT_EQ(schema(R"("json_schema":{})"), R"({"type":"object"})");
  EXPECT_EQ(good(with(R"("grammar":"root ::= \"a\"")")).grammar, "root ::= \"a\"");
}

TEST(ParseAnswerForm, WrongOnesAreNamed) {
  EXPECT_EQ(bad(with(R"("response_format":"json")")), "response_format");
  EXPECT_EQ(bad(with(R"("response_format":{"type":"xml"})")), "response_format.type");
  EXPECT_EQ(bad(with(R"("response_format":{"type":"json_schema"})")), "response_format.json_schema");
  EXPECT_EQ(bad(with(R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})")), "response_format.json_schema.schema");
  EXPECT_EQ(bad(with(R"("json_schema":{"type":"array"},"response_format":{"type":"json_object"})")), "response_format.schema");
  EXPECT_EQ(bad(with(R"("json_schema":true)")), "json_schema");
  EXPECT_EQ(bad(with(R"("json_schema":{},"grammar":"root ::= \"a\"")")), "grammar");
  EXPECT_EQ(bad(with(R"("grammar":"root ::= \"a\"","json_schema":{})")), "json_schema");
  EXPECT_EQ(bad(with(R"("grammar":5)")), "grammar");
  EXPECT_EQ(bad(with("\"grammar\":\"root ::= " + std::string(100'000, '(') + "\"")), "grammar") << "llama.cpp would call itself as often";
}

TEST(ParseAnswerForm, Reasoning) {
  const engine::ChatOptions chat = good(with(R"("chat_template_kwargs":{"enable_thinking":false,"a":[1,"b"]},"reasoning_effort":"low")")).chat;
  EXPECT_FALSE(chat.thinking);
  EXPECT_EQ(chat.template_kwargs,
            (std::map<std::string, std::string>{{"a", R"([1,"b"])"}, {"enable_thinking", "false"}, {"reasoning_effort", "\"low\""}}));
  EXPECT_FALSE(good(with(R"("reasoning_effort":"none")")).chat.thinking);
  EXPECT_FALSE(good(with(R"("reasoning_format":"none")")).chat.separate_reasoning);
  EXPECT_EQ(bad(with(R"("chat_template_kwargs":{"enable_thinking":"no"})")), "chat_template_kwargs.enable_thinking");
  EXPECT_EQ(bad(with(R"("reasoning_effort":1)")), "reasoning_effort");
  EXPECT_EQ(bad(with(R"("reasoning_format":"x")")), "reasoning_format");
}

}   // namespace
}   // namespace tensorcache::protocol
