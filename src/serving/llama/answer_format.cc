#include "serving/llama/answer_format.h"

#include <common.h>
#include <json-schema-to-grammar.h>

#include <algorithm>
#include <stdexcept>

namespace tensorcache::llama {
namespace {

// Whether the parser takes any text for content. Asked of texts: a parser's own form does not tell.
bool takes_all_for_content(const common_chat_params& params, const common_chat_parser_params& parser) {
  std::vector<std::string> probes = {"Hello, {\"a\": [1]} <b>world</b>\n", " x"};
  for (const std::string& token : params.preserved_tokens) probes.push_back("Hello " + token + " world");
  return std::all_of(probes.begin(), probes.end(), [&](const std::string& probe) {
    try {
      const common_chat_msg message = common_chat_parse(probe, false, parser);
      return message.content == probe && message.reasoning_content.empty() && message.tool_calls.empty();
    } catch (const std::exception&) {
      return false;
    }
  });
}

// A trigger that is one token of the model is looked for as that token.
void add_trigger(const llama_vocab* vocab, const common_grammar_trigger& trigger, AnswerFormat& format) {
  if (trigger.type == COMMON_GRAMMAR_TRIGGER_TYPE_WORD) {
    const llama_tokens tokens = common_tokenize(vocab, trigger.value, false, true);
    if (tokens.size() == 1) {
      format.preserved_tokens.insert(tokens[0]);
      common_grammar_trigger by_token;
      by_token.type = COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN;
      by_token.value = trigger.value;
      by_token.token = tokens[0];
      format.triggers.push_back(std::move(by_token));
      return;
    }
  }
  format.triggers.push_back(trigger);
}

common_grammar_type grammar_type(const engine::Request& request) {
  return request.json_schema.empty() ? COMMON_GRAMMAR_TYPE_TOOL_CALLS : COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT;
}

}   // namespace

AnswerFormat chat_format(const llama_vocab* vocab, const common_chat_params& params, const engine::Request& request) {
  AnswerFormat format;
  if (!params.grammar.empty()) format.grammar = {grammar_type(request), params.grammar};
  if (!request.grammar.empty()) format.grammar = {COMMON_GRAMMAR_TYPE_USER, request.grammar};
  format.grammar_lazy = params.grammar_lazy;
  for (const std::string& text : params.preserved_tokens) {
    const llama_tokens tokens = common_tokenize(vocab, text, false, true);
    if (tokens.size() == 1) format.preserved_tokens.insert(tokens[0]);
  }
  for (const common_grammar_trigger& trigger : params.grammar_triggers) add_trigger(vocab, trigger, format);
  if (format.grammar_lazy && format.triggers.empty()) throw std::runtime_error("the template's tool grammar has no trigger");
  format.stops = params.additional_stops;
  format.generation_prompt = params.generation_prompt;
  if (!params.thinking_end_tags.empty()) {
    format.reasoning_start = common_tokenize(vocab, params.thinking_start_tag, false, true);
    for (const std::string& tag : params.thinking_end_tags) format.reasoning_ends.push_back(common_tokenize(vocab, tag, false, true));
  }
  format.parser = common_chat_parser_params(params);
  format.parser.reasoning_format = request.chat.separate_reasoning ? COMMON_REASONING_FORMAT_DEEPSEEK : COMMON_REASONING_FORMAT_NONE;
  if (!params.parser.empty()) {
    format.parser.parser.load(params.parser);
    const bool could_be_other = params.supports_thinking || !request.chat.tools.empty() || !request.json_schema.empty();
    format.plain = !could_be_other && takes_all_for_content(params, format.parser);
  }
  return format;
}

std::optional<std::pair<std::string, std::string>> unusable_schema(const engine::Request& request) {
  const auto why = [](const std::string& schema) -> std::optional<std::string> {
    try {
      static_cast<void>(json_schema_to_grammar(common_json::parse(schema)));
      return std::nullopt;
    } catch (const std::exception& error) {
      return error.what();
    }
  };
  if (!request.json_schema.empty()) {
    if (auto reason = why(request.json_schema)) return std::pair("response_format", *std::move(reason));
  }
  for (std::size_t i = 0; i < request.chat.tools.size(); ++i) {
    if (auto reason = why(request.chat.tools[i].parameters)) {
      return std::pair("tools[" + std::to_string(i) + "].function.parameters", *std::move(reason));
    }
  }
  return std::nullopt;
}

AnswerFormat completion_format(const engine::Request& request) {
  AnswerFormat format;
  if (!request.json_schema.empty()) {
    format.grammar = {COMMON_GRAMMAR_TYPE_OUTPUT_FORMAT, json_schema_to_grammar(common_json::parse(request.json_schema))};
  } else if (!request.grammar.empty()) {
    format.grammar = {COMMON_GRAMMAR_TYPE_USER, request.grammar};
  }
  return format;
}

}   // namespace tensorcache::llama
