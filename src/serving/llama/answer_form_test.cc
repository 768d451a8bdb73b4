#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "serving/llama/answer_parser.h"
#include "serving/llama/chat_template.h"
#include "serving/llama/llama_model.h"
#include "testing/llama/engine.h"
#include "testing/llama/tiny_models.h"

namespace tensorcache::llama {
namespace {

// ChatML, and tools as Qwen and Hermes have them.
constexpr const char* kToolTemplate =
    R"({%- if tools %}{{- '<|im_start|>system\nTools:\n<tools>' }}{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\n</tools>\nCall with <tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call><|im_end|>\n' }}{%- endif %}
{%- for message in messages %}{%- if message.role == 'assistant' and message.tool_calls %}{{- '<|im_start|>assistant\n' }}{%- if message.content %}{{- message.content }}{%- endif %}
{%- for tool_call in message.tool_calls %}{{- '\n<tool_call>\n{"name": "' }}{{- tool_call.function.name }}{{- '", "arguments": ' }}{{- tool_call.function.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}
{%- elif message.role == 'tool' %}{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %})";

constexpr const char* kPlainTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

constexpr const char* kSchema = R"({"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false})";

struct Model {
  std::unique_ptr<llama_model, LlamaDeleter> model;
  Model() {
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    model.reset(llama_model_load_from_file(testing::make_tiny_model(testing::TinyModel::kAttention).c_str(), params));
  }
};

engine::Request chat_request(bool with_tools, engine::ToolChoice choice = engine::ToolChoice::kAuto) {
  engine::Request request;
  request.messages = {{"user", "weather?"}};
  if (with_tools) request.chat.tools = {{"get_weather", "Weather of a city", kSchema}};
  request.chat.tool_choice = choice;
  return request;
}

// All that a parser returns for a text that comes in pieces of `bytes`.
struct Parsed {
  std::string text, reasoning;
  std::vector<engine::ToolCall> calls;
  int pieces = 0;   // that had something to tell
};

Parsed parse(const std::shared_ptr<const AnswerFormat>& format, const std::string& text, std::size_t bytes, const Key& prompt = Key::of("p")) {
  AnswerParser parser(format, prompt);
  Parsed parsed;
  const auto add = [&](const engine::Delta& delta) {
    parsed.text += delta.text;
    parsed.reasoning += delta.reasoning;
    parsed.pieces += !delta.empty();
    for (const engine::ToolCallDelta& piece : delta.tool_calls) {
      EXPECT_LE(piece.index, parsed.calls.size());
      if (piece.index == parsed.calls.size()) {
        EXPECT_FALSE(piece.id.empty() || piece.name.empty()) << "the first piece of a call tells which it is";
        parsed.calls.push_back({piece.id, piece.name, {}});
      }
      parsed.calls[piece.index].arguments += piece.arguments;
    }
  };
  for (std::size_t i = 0; i < text.size(); i += bytes) add(parser.push({text.substr(i, bytes), {}}));
  add(parser.finish({}));
  return parsed;
}

class AnswerForm : public ::testing::TestWithParam<const char*> {
 protected:
  Model model_;
  ChatTemplate template_{model_.model.get(), GetParam()};
};

TEST_P(AnswerForm, ToolCallsAreToldFromContentHoweverTheTextIsCut) {
  const auto format = template_.render(chat_request(true)).format;
  const std::string call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>";
  for (const std::size_t bytes : {1, 3, 7, 1000}) {
    const Parsed parsed = parse(format, "Let me see. " + call, bytes);
    EXPECT_EQ(parsed.text.substr(0, 11), "Let me see.") << bytes;
    EXPECT_EQ(parsed.text.find("<tool"), std::string::npos);
    ASSERT_EQ(parsed.calls.size(), 1u) << bytes;
    EXPECT_EQ(parsed.calls[0].name, "get_weather");
    EXPECT_EQ(parsed.calls[0].arguments, "{\"city\": \"Paris\"}");
  }
  EXPECT_GT(parse(format, call, 1).pieces, 5) << "arguments are streamed in pieces";
}

TEST_P(AnswerForm, TextWithoutACallIsContent) {
  const auto format = template_.render(chat_request(true)).format;
  const Parsed parsed = parse(format, "It is <b>sunny</b> {\"a\":1}.", 1);
  EXPECT_EQ(parsed.text, "It is <b>sunny</b> {\"a\":1}.");
  EXPECT_TRUE(parsed.calls.empty());
}

TEST_P(AnswerForm, ACallThatIsCutOffKeepsWhatThereIs) {
  const auto format = template_.render(chat_request(true)).format;
  const Parsed parsed = parse(format, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Par", 1);
  ASSERT_EQ(parsed.calls.size(), 1u);
  EXPECT_TRUE(parsed.calls[0].arguments.starts_with("{\"city\": \"Par"));
}

TEST_P(AnswerForm, TheSamePromptGivesACallTheSameId) {
  const auto format = template_.render(chat_request(true)).format;
  const std::string call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>";
  const auto id = [&](std::size_t bytes, const char* prompt) { return parse(format, call, bytes, Key::of(prompt)).calls.at(0).id; };
  EXPECT_EQ(id(1, "p"), id(9, "p"));
  EXPECT_NE(id(1, "p"), id(1, "q"));
}

TEST_P(AnswerForm, WithoutToolsAllTextIsContentAndNothingIsParsed) {
  const auto format = template_.render(chat_request(false)).format;
  EXPECT_TRUE(format->plain);
  EXPECT_TRUE(format->grammar.empty());
  EXPECT_EQ(parse(format, "<tool_call>{}</tool_call>", 1).text, "<tool_call>{}</tool_call>");
}

TEST_P(AnswerForm, AChoiceDecidesTheGrammar) {
  EXPECT_TRUE(template_.render(chat_request(true)).format->grammar_lazy);
  const auto required = template_.render(chat_request(true, engine::ToolChoice::kRequired)).format;
  EXPECT_FALSE(required->grammar.empty());
  EXPECT_FALSE(required->grammar_lazy);
  EXPECT_TRUE(template_.render(chat_request(true, engine::ToolChoice::kNone)).format->grammar.empty());
}

TEST_P(AnswerForm, CallsAndResultsOfEarlierTurnsAreInThePrompt) {
  engine::Request request = chat_request(true);
  engine::Message turn{"assistant", ""}, result{"tool", "rain"};
  turn.tool_calls = {{"c1", "get_weather", "{\"city\":\"Oslo\"}"}};
  result.tool_call_id = "c1";
  request.messages.push_back(turn);
  request.messages.push_back(result);
  const std::string prompt = template_.render(request).prompt;
  for (const char* part : {"get_weather", "Weather of a city", "Oslo", "rain", "<tool_response>"}) {
    EXPECT_NE(prompt.find(part), std::string::npos) << part << "\n" << prompt;
  }
}

std::string template_name(const ::testing::TestParamInfo<const char*>& test) {
  return test.index == 0 ? "WithTools" : test.index == 1 ? "Plain" : "BuiltIn";
}
INSTANTIATE_TEST_SUITE_P(Templates, AnswerForm, ::testing::Values(kToolTemplate, kPlainTemplate, "chatml"), template_name);

// Random weights write what the grammar allows and nothing else.
class AnswerGrammar : public ::testing::Test {
 protected:
  static void options(LlamaOptions& options) { options.chat_template = kPlainTemplate; }
  static engine::Request request(unsigned seed) {
    engine::Request request = chat_request(false);
    request.max_tokens = 200;
    request.sampling.temperature = 1.5f;
    request.sampling.seed = seed;
    return request;
  }
  testing::TestEngine engine_{testing::TinyModel::kAttention, options};
};

TEST_F(AnswerGrammar, AGrammarHoldsTheModelToIt) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    engine::Request yes_or_no = request(seed);
    yes_or_no.grammar = "root ::= \"yes\" | \"no\"";
    const auto answer = engine_.ask(yes_or_no);
    ASSERT_TRUE(answer->finish());
    EXPECT_TRUE(answer->text() == "yes" || answer->text() == "no") << answer->text();
    EXPECT_EQ(answer->finish()->reason, engine::FinishReason::kStop);
  }
}

TEST_F(AnswerGrammar, ASchemaHoldsTheModelToIt) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    engine::Request json = request(seed);
    json.json_schema =
        R"({"type":"object","properties":{"on":{"type":"boolean"},"n":{"enum":[1,2]}},"required":["on","n"],"additionalProperties":false})";
    const auto answer = engine_.ask(json);
    ASSERT_TRUE(answer->finish());
    std::string dense;
    for (const char c : answer->text()) dense += c == ' ' || c == '\n' || c == '\t' ? "" : std::string(1, c);
    const std::set<std::string> all = {R"({"on":true,"n":1})", R"({"on":true,"n":2})", R"({"on":false,"n":1})", R"({"on":false,"n":2})"};
    EXPECT_TRUE(all.contains(dense)) << answer->text();
  }
}

TEST_F(AnswerGrammar, ARequiredToolIsCalled) {
  for (unsigned seed = 1; seed <= 3; ++seed) {
    engine::Request call = request(seed);
    call.max_tokens = 800;   // a token of this model is a byte or two
    call.chat.tools = {{"set", "", R"({"type":"object","properties":{"on":{"type":"boolean"}},"required":["on"],"additionalProperties":false})"}};
    call.chat.tool_choice = engine::ToolChoice::kRequired;
    const auto answer = engine_.ask(call);
    ASSERT_TRUE(answer->finish());
    ASSERT_EQ(answer->calls().size(), 1u);
    EXPECT_EQ(answer->calls()[0].name, "set");
    EXPECT_NE(answer->calls()[0].arguments.find("\"on\""), std::string::npos) << answer->calls()[0].arguments;
    EXPECT_EQ(answer->text(), "");
    EXPECT_EQ(answer->finish()->reason, engine::FinishReason::kToolCalls);
  }
}

TEST_F(AnswerGrammar, WhatCannotBeAGrammarIsRefusedByName) {
  const auto param = [&](const std::function<void(engine::Request&)>& change) {
    engine::Request bad = request(1);
    change(bad);
    const auto answer = engine_.ask(bad);
    return answer->failure() ? answer->failure()->param : "accepted";
  };
  EXPECT_EQ(param([](engine::Request& r) { r.grammar = "root ::= nowhere"; }), "grammar");
  EXPECT_EQ(param([](engine::Request& r) { r.grammar = "rot ::= \"a\""; }), "grammar");
  EXPECT_EQ(param([](engine::Request& r) { r.grammar = "root ::= root \"a\" | \"b\""; }), "grammar") << "left recursion";
  EXPECT_EQ(param([](engine::Request& r) { r.json_schema = R"({"$ref":"#/nowhere"})"; }), "response_format");
  EXPECT_EQ(param([](engine::Request& r) { r.chat.tools = {{"f", "", R"({"$ref":"#/nowhere"})"}}; }), "tools[0].function.parameters");
  EXPECT_TRUE(engine_.ask(request(2))->finish()) << "the engine goes on";
}

}   // namespace
}   // namespace tensorcache::llama
