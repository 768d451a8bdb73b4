// The bodies of the routes that turn texts into tokens and back, as llama-server has them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/protocol/problem.h"

namespace tensorcache::protocol {

struct TokenizeRequest {
  std::string content;
  engine::TokenizeOptions options;
  bool with_pieces = false;   // each token with its text
};

// POST /tokenize: {"content", "add_special", "parse_special", "with_pieces"}.
[[nodiscard]] std::variant<TokenizeRequest, Problem> parse_tokenize(std::string_view body);
// POST /detokenize: {"tokens"}. RETURNS ids of the vocabulary.
[[nodiscard]] std::variant<std::vector<std::int32_t>, Problem> parse_detokenize(std::string_view body, std::int32_t vocab_tokens);

// RETURNS {"tokens":[1,2]}; or with the bytes of each, {"tokens":[{"id":1,"piece":"a"}]}. A piece that
// is no UTF-8 is an array of its bytes.
[[nodiscard]] std::string tokens_json(const std::vector<std::int32_t>& tokens);
[[nodiscard]] std::string pieces_json(const std::vector<std::int32_t>& tokens, const std::vector<std::string>& bytes);

}   // namespace tensorcache::protocol
