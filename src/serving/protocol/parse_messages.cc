#include "serving/protocol/parse_messages.h"

#include <utility>
#include <vector>

#include "serving/protocol/parse_tools.h"
#include "serving/protocol/parse_values.h"

namespace tensorcache::protocol {
namespace {

MaybeProblem unknown_field(RequestDraft& draft, const std::string& name, const boost::json::value& value) {
  if (value.is_null() || draft.ignores(name)) return std::nullopt;
  return bad_field(name, "unknown field " + name, "unknown_parameter");
}

MaybeProblem content_part(RequestDraft& draft, const std::string& name, const boost::json::value& value, std::string& content) {
  const boost::json::object* part = value.if_object();
  const boost::json::value* type = part ? part->if_contains("type") : nullptr;
  if (!type || !type->is_string()) return bad_field(name, name + " must be an object with a type");
  if (type->get_string() != "text")
    return bad_field(name, name + ": only parts of type \"text\" are supported, not \"" + std::string(type->get_string()) + "\"",
                     "unsupported_parameter");
  const boost::json::value* words = part->if_contains("text");
  if (!words || !words->is_string()) return bad_field(name + ".text", name + ".text must be a string");
  for (const auto& member : *part) {
    if (member.key() == "type" || member.key() == "text") continue;
    if (MaybeProblem problem = unknown_field(draft, name + "." + std::string(member.key()), member.value())) return problem;
  }
  content.append(words->get_string());
  return std::nullopt;
}

MaybeProblem message_content(RequestDraft& draft, const std::string& name, const boost::json::value& value, std::string& content) {
  if (const boost::json::string* string = value.if_string()) {
    content.assign(string->data(), string->size());
    return std::nullopt;
  }
  const boost::json::array* parts = value.if_array();
  if (!parts || parts->empty()) return bad_field(name, name + " must be a string or an array of text parts");
  for (std::size_t i = 0; i < parts->size(); ++i) {
    if (i > 0) content += '\n';
    if (MaybeProblem problem = content_part(draft, at(name, i), (*parts)[i], content)) return problem;
  }
  return std::nullopt;
}

bool is_empty(const boost::json::value& value) { return value.is_null() || (value.is_array() && value.get_array().empty()); }

// Fields besides role, content and name.
MaybeProblem other_field(RequestDraft& draft, const std::string& name, std::string_view key, const boost::json::value& value,
                         engine::Message& message) {
  if (is_empty(value)) return std::nullopt;
  if (key == "tool_calls") return parse_tool_calls(draft, name, value, message.tool_calls);
  if (key == "tool_call_id" || key == "reasoning_content") {
    if (!value.is_string()) return bad_field(name, name + " must be a string");
    (key == "tool_call_id" ? message.tool_call_id : message.reasoning) = value.get_string();
    return std::nullopt;
  }
  if (key == "audio" || key == "function_call") return bad_field(name, name + " is not supported", "unsupported_parameter");
  return unknown_field(draft, name, value);
}

bool is_role(std::string_view role) { return role == "system" || role == "developer" || role == "user" || role == "assistant" || role == "tool"; }

// What only one role can have.
MaybeProblem check_role(const std::string& name, const engine::Message& message, bool has_content) {
  if (!is_role(message.role)) return bad_field(name + ".role", name + ".role must be system, developer, user, assistant or tool");
  const bool assistant = message.role == "assistant";
  if (!has_content && !assistant) return bad_field(name + ".content", name + ".content is missing", "missing_required_parameter");
  if (!assistant && !message.tool_calls.empty()) return bad_field(name + ".tool_calls", name + ".tool_calls is a field of the assistant's messages");
  if (message.role != "tool" && !message.tool_call_id.empty()) {
    return bad_field(name + ".tool_call_id", name + ".tool_call_id is a field of messages of role tool");
  }
  return std::nullopt;
}

MaybeProblem add_message(RequestDraft& draft, const std::string& name, const boost::json::value& value, std::vector<engine::Message>& messages) {
  const boost::json::object* object = value.if_object();
  if (!object) return bad_field(name, name + " must be an object with role and content");
  engine::Message message;
  bool has_content = false;
  for (const auto& member : *object) {
    const std::string_view key = member.key();
    if (key == "content") {
      has_content = !member.value().is_null();
      if (!has_content) continue;
      if (MaybeProblem problem = message_content(draft, name + ".content", member.value(), message.content)) return problem;
    } else if (key == "role" && member.value().is_string()) {
      message.role = member.value().get_string();
    } else if (key == "name" && (member.value().is_string() || member.value().is_null())) {
      if (member.value().is_string()) message.name = member.value().get_string();
    } else if (key == "role" || key == "name") {
      return bad_field(name + "." + std::string(key), name + "." + std::string(key) + " must be a string");
    } else if (MaybeProblem problem = other_field(draft, name + "." + std::string(key), key, member.value(), message)) {
      return problem;
    }
  }
  if (MaybeProblem problem = check_role(name, message, has_content)) return problem;
  messages.push_back(std::move(message));
  return std::nullopt;
}

MaybeProblem prompt_tokens(RequestDraft& draft, const std::string& name, const boost::json::array& array) {
  std::vector<std::int32_t>& tokens = draft.request().prompt_tokens;
  tokens.reserve(array.size());
  for (std::size_t i = 0; i < array.size(); ++i) {
    const std::int64_t* token = array[i].if_int64();
    if (!token || *token < 0 || *token >= draft.vocab_tokens)
      return bad_field(at(name, i), at(name, i) + " must be a token id of this model (0 to " + std::to_string(draft.vocab_tokens - 1) + ")");
    tokens.push_back(static_cast<std::int32_t>(*token));
  }
  return std::nullopt;
}

}   // namespace

std::optional<Problem> apply_messages(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::array* array = value.if_array();
  if (!array || array->empty()) return bad_field(std::string(name), "messages must be an array of at least one message");
  draft.has_messages = true;
  draft.request().messages.reserve(array->size());
  for (std::size_t i = 0; i < array->size(); ++i)
    if (MaybeProblem problem = add_message(draft, at(name, i), (*array)[i], draft.request().messages)) return problem;
  return std::nullopt;
}

std::optional<Problem> apply_prompt(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  draft.has_prompt = true;
  if (const boost::json::string* string = value.if_string()) {
    draft.request().prompt.assign(string->data(), string->size());
    return std::nullopt;
  }
  const boost::json::array* array = value.if_array();
  if (array && !array->empty()) {
    const boost::json::value& first = array->front();
    if (first.is_number()) return prompt_tokens(draft, std::string(name), *array);
    if (array->size() > 1) return bad_field(std::string(name), "only one prompt per request is supported", "unsupported_parameter");
    if (first.is_string()) return apply_prompt(draft, name, first);
    if (first.is_array() && !first.get_array().empty()) return prompt_tokens(draft, at(name, 0), first.get_array());
  }
  return bad_field(std::string(name), "prompt must be a string, or an array of one string or of token ids");
}

}   // namespace tensorcache::protocol
