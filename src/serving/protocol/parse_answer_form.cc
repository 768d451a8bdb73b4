#include "serving/protocol/parse_answer_form.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <string>

namespace tensorcache::protocol {
namespace {

constexpr std::size_t kMaxGrammarBytes = 256 << 10;
// llama.cpp's parser of grammars calls itself for each "(".
constexpr int kMaxGrammarDepth = 200;

// An empty schema means any object, as for llama-server.
MaybeProblem set_schema(RequestDraft& draft, const std::string& name, const boost::json::value* value) {
  const boost::json::object* object = value ? value->if_object() : nullptr;
  if (!object) {
    return bad_field(name, name + " must be a JSON schema, an object", value ? "invalid_value" : "missing_required_parameter");
  }
  if (!draft.request().grammar.empty()) return bad_field(name, name + " and grammar cannot be used together");
  std::string schema = object->empty() ? R"({"type":"object"})" : boost::json::serialize(*object);
  if (!draft.request().json_schema.empty() && draft.request().json_schema != schema) {
    return bad_field(name, "response_format and json_schema ask for different schemas");
  }
  draft.request().json_schema = std::move(schema);
  return std::nullopt;
}

int deepest(std::string_view grammar) {
  int depth = 0, most = 0;
  for (const char c : grammar) {
    if (c == '(') most = std::max(most, ++depth);
    if (c == ')') --depth;
  }
  return most;
}

}   // namespace

MaybeProblem apply_response_format(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::object* object = value.if_object();
  const boost::json::value* type = object ? object->if_contains("type") : nullptr;
  if (!type || !type->is_string()) return bad_field(text(name), text(name) + " must be an object with a type");
  const boost::json::string& word = type->get_string();
  if (word == "text") return std::nullopt;
  if (word == "json_object") {
    static const boost::json::value any = boost::json::object();
    const boost::json::value* schema = object->if_contains("schema");   // llama-server's
    return set_schema(draft, text(name) + ".schema", schema ? schema : &any);
  }
  if (word != "json_schema") {
    return bad_field(text(name) + ".type", text(name) + ".type must be \"text\", \"json_object\" or \"json_schema\"", "unsupported_parameter");
  }
  const boost::json::value* wrapper = object->if_contains("json_schema");
  const boost::json::object* inner = wrapper ? wrapper->if_object() : nullptr;
  if (!inner) return bad_field(text(name) + ".json_schema", text(name) + ".json_schema must be an object with a schema");
  return set_schema(draft, text(name) + ".json_schema.schema", inner->if_contains("schema"));
}

MaybeProblem apply_json_schema(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return set_schema(draft, text(name), &value);
}

MaybeProblem apply_grammar(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::string* string = value.if_string();
  if (!string || string->size() > kMaxGrammarBytes) {
    return bad_field(text(name), text(name) + " must be a string of at most " + std::to_string(kMaxGrammarBytes) + " bytes");
  }
  if (string->empty()) return std::nullopt;
  if (deepest(*string) > kMaxGrammarDepth) {
    return bad_field(text(name), text(name) + " must not be nested more than " + std::to_string(kMaxGrammarDepth) + " deep");
  }
  if (!draft.request().json_schema.empty()) return bad_field(text(name), "a JSON schema and grammar cannot be used together");
  draft.request().grammar.assign(string->data(), string->size());
  return std::nullopt;
}

MaybeProblem apply_template_kwargs(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::object* object = value.if_object();
  if (!object) return bad_field(text(name), text(name) + " must be an object");
  engine::ChatOptions& chat = draft.request().chat;
  for (const auto& member : *object) {
    if (member.key() == "enable_thinking") {
      if (MaybeProblem problem = boolean(text(name) + ".enable_thinking", member.value(), chat.thinking)) return problem;
    }
    chat.template_kwargs[text(member.key())] = boost::json::serialize(member.value());
  }
  return std::nullopt;
}

// "none" switches thinking off; the others are for the template to read.
MaybeProblem apply_reasoning_effort(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::string* word = value.if_string();
  if (!word) return bad_field(text(name), text(name) + " must be a string, such as \"low\"");
  engine::ChatOptions& chat = draft.request().chat;
  if (*word == "none")
    chat.thinking = false;
  else if (!word->empty())
    chat.template_kwargs["reasoning_effort"] = boost::json::serialize(value);
  return std::nullopt;
}

MaybeProblem apply_reasoning_format(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::string* word = value.if_string();
  const bool apart = word && (*word == "auto" || *word == "deepseek");
  if (!apart && !(word && *word == "none")) return bad_field(text(name), text(name) + " must be \"auto\", \"deepseek\" or \"none\"");
  draft.request().chat.separate_reasoning = apart;
  return std::nullopt;
}

}   // namespace tensorcache::protocol
