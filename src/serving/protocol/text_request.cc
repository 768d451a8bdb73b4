#include "serving/protocol/text_request.h"

#include <boost/json/object.hpp>

#include "base/core/utf8.h"
#include "base/json/json_document.h"
#include "base/json/json_text.h"
#include "serving/protocol/json_members.h"
#include "serving/protocol/parse_values.h"

namespace tensorcache::protocol {
namespace {

constexpr std::size_t kMaxContentBytes = 1 << 20;   // up to three seconds of a thread

using Object = std::variant<boost::json::value, Problem>;

// RETURNS a JSON object.
Object parse_object(std::string_view body) {
  auto document = json::parse_json(body, {});
  if (!document) return Problem{400, "the body is not valid JSON: " + document.error(), "", "invalid_json", 0};
  if (!document->is_object()) return Problem{400, "the body must be a JSON object", "", "invalid_json", 0};
  return std::move(*document);
}

template <class Append>
std::string list_json(std::size_t count, const Append& append) {
  std::string out = "{\"tokens\":[";
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    append(out, i);
  }
  return out + "]}";
}

}   // namespace

std::variant<TokenizeRequest, Problem> parse_tokenize(std::string_view body) {
  const Object object = parse_object(body);
  if (const auto* problem = std::get_if<Problem>(&object)) return *problem;
  TokenizeRequest request;
  bool has_content = false;
  for (const auto& member : std::get<0>(object).get_object()) {
    const std::string_view name = member.key();
    const boost::json::value& value = member.value();
    if (name == "content") {
      const boost::json::string* string = value.if_string();
      if (!string || string->size() > kMaxContentBytes) return bad_field("content", "content must be a string of at most 1 MiB");
      request.content.assign(string->data(), string->size());
      has_content = true;
      continue;
    }
    bool* const flag = name == "add_special"     ? &request.options.add_special
                       : name == "parse_special" ? &request.options.parse_special
                       : name == "with_pieces"   ? &request.with_pieces
                                                 : nullptr;
    if (flag == nullptr || value.is_null()) continue;
    if (MaybeProblem problem = boolean(name, value, *flag)) return *problem;
  }
  if (!has_content) return bad_field("content", "content is missing", "missing_required_parameter");
  return request;
}

std::variant<std::vector<std::int32_t>, Problem> parse_detokenize(std::string_view body, std::int32_t vocab_tokens) {
  const Object object = parse_object(body);
  if (const auto* problem = std::get_if<Problem>(&object)) return *problem;
  const boost::json::value* list = std::get<0>(object).get_object().if_contains("tokens");
  if (!list) return bad_field("tokens", "tokens is missing", "missing_required_parameter");
  const boost::json::array* array = list->if_array();
  if (!array) return bad_field("tokens", "tokens must be an array of token ids");
  std::vector<std::int32_t> tokens(array->size());
  for (std::size_t i = 0; i < array->size(); ++i) {
    if (MaybeProblem problem = integer_in(at("tokens", i), (*array)[i], 0, vocab_tokens - 1, tokens[i])) return *problem;
  }
  return tokens;
}

std::string tokens_json(const std::vector<std::int32_t>& tokens) {
  return list_json(tokens.size(), [&](std::string& out, std::size_t i) { json::append_json_number(out, tokens[i]); });
}

std::string pieces_json(const std::vector<std::int32_t>& tokens, const std::vector<std::string>& bytes) {
  return list_json(tokens.size(), [&](std::string& out, std::size_t i) {
    out += "{\"id\":";
    json::append_json_number(out, tokens[i]);
    out += ",\"piece\":";
    if (is_utf8(bytes[i]))
      json::append_json_string(out, bytes[i]);
    else
      append_bytes(out, bytes[i]);
    out += '}';
  });
}

}   // namespace tensorcache::protocol
