// The form of a response's text: what a grammar allows, and how tool calls and reasoning are told from content.
#pragma once

#include <chat.h>
#include <llama.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "serving/engine/request.h"

namespace tensorcache::llama {

struct AnswerFormat {
  common_grammar grammar;      // empty: any text
  bool grammar_lazy = false;   // it applies from the first trigger on
  std::vector<common_grammar_trigger> triggers;
  std::set<llama_token> preserved_tokens;   // control tokens that are part of the text
  std::vector<std::string> stops;           // besides the request's
  std::string generation_prompt;            // the end of the prompt, with which the answer begins for grammar and parser
  llama_tokens reasoning_start;
  std::vector<llama_tokens> reasoning_ends;
  bool continues = false;   // it ends with the beginning of the answer, which the client has
  bool plain = true;        // all of the text is content
  common_chat_parser_params parser;
};

// From what llama.cpp's template for this request gave. Throws std::runtime_error if that contradicts itself.
[[nodiscard]] AnswerFormat chat_format(const llama_vocab* vocab, const common_chat_params& params, const engine::Request& request);
// RETURNS the field whose JSON schema cannot be made a grammar, and why; or nothing.
[[nodiscard]] std::optional<std::pair<std::string, std::string>> unusable_schema(const engine::Request& request);
// Of a completion without a template. Throws if the schema cannot be made a grammar.
[[nodiscard]] AnswerFormat completion_format(const engine::Request& request);

}   // namespace tensorcache::llama
