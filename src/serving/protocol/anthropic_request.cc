#include "serving/protocol/anthropic_request.h"

#include <boost/json/serialize.hpp>

#include <string>
#include <utility>
#include <vector>

#include "serving/protocol/parse_fields.h"
#include "serving/protocol/parse_sampling.h"

namespace tensorcache::protocol {
namespace {

using Object = boost::json::object;

void add_line(std::string& text, std::string_view line) {
  if (!text.empty()) text += '\n';
  text += line;
}

MaybeProblem type_of(const std::string& name, const boost::json::value& value, std::string& type) {
  const Object* object = value.if_object();
  if (!object) return bad_field(name, name + " must be an object with a type");
  return text_member(name, *object, "type", type);
}

MaybeProblem unsupported(const std::string& name, const std::string& type) {
  return bad_field(name + ".type", name + ".type: \"" + type + "\" is not supported", "unsupported_parameter");
}

// A text, or blocks of type "text".
MaybeProblem plain_text(const std::string& name, const boost::json::value& value, std::string& into) {
  if (const boost::json::string* string = value.if_string()) {
    into.assign(string->data(), string->size());
    return std::nullopt;
  }
  const boost::json::array* blocks = value.if_array();
  if (!blocks) return bad_field(name, name + " must be a string or an array of text blocks");
  for (std::size_t i = 0; i < blocks->size(); ++i) {
    std::string type, words;
    if (MaybeProblem problem = type_of(at(name, i), (*blocks)[i], type)) return problem;
    if (type != "text") return unsupported(at(name, i), type);
    if (MaybeProblem problem = text_member(at(name, i), (*blocks)[i].get_object(), "text", words)) return problem;
    add_line(into, words);
  }
  return std::nullopt;
}

MaybeProblem add_tool_use(const std::string& name, const Object& block, engine::Message& message) {
  engine::ToolCall call;
  if (MaybeProblem problem = text_member(name, block, "id", call.id)) return problem;
  if (MaybeProblem problem = text_member(name, block, "name", call.name)) return problem;
  const boost::json::value* input = block.if_contains("input");
  if (input && !input->is_object()) return bad_field(name + ".input", name + ".input must be an object");
  call.arguments = input ? boost::json::serialize(*input) : "{}";
  message.tool_calls.push_back(std::move(call));
  return std::nullopt;
}

// A result is a message of its own, before the text of the turn that it comes in.
MaybeProblem add_tool_result(RequestDraft& draft, const std::string& name, const Object& block) {
  engine::Message result;
  result.role = "tool";
  if (MaybeProblem problem = text_member(name, block, "tool_use_id", result.tool_call_id)) return problem;
  if (const boost::json::value* content = block.if_contains("content"); content && !content->is_null()) {
    if (MaybeProblem problem = plain_text(name + ".content", *content, result.content)) return problem;
  }
  draft.request().messages.push_back(std::move(result));
  return std::nullopt;
}

MaybeProblem add_block(RequestDraft& draft, const std::string& name, const boost::json::value& value, engine::Message& message) {
  std::string type, words;
  if (MaybeProblem problem = type_of(name, value, type)) return problem;
  const Object& block = value.get_object();
  const bool assistant = message.role == "assistant";
  if (type == "text") {
    MaybeProblem problem = text_member(name, block, "text", words);
    add_line(message.content, words);
    return problem;
  }
  if (assistant && type == "tool_use") return add_tool_use(name, block, message);
  if (assistant && type == "thinking") {
    MaybeProblem problem = text_member(name, block, "thinking", words);
    add_line(message.reasoning, words);
    return problem;
  }
  if (assistant && type == "redacted_thinking") return std::nullopt;   // another model's, and encrypted
  if (!assistant && type == "tool_result") return add_tool_result(draft, name, block);
  return unsupported(name, type);
}

MaybeProblem add_message(RequestDraft& draft, const std::string& name, const boost::json::value& value) {
  const Object* object = value.if_object();
  if (!object) return bad_field(name, name + " must be an object with role and content");
  engine::Message message;
  if (MaybeProblem problem = text_member(name, *object, "role", message.role)) return problem;
  if (message.role != "user" && message.role != "assistant" && message.role != "system") {
    return bad_field(name + ".role", name + ".role must be user or assistant");
  }
  const boost::json::value* content = object->if_contains("content");
  if (!content || content->is_null()) return bad_field(name + ".content", name + ".content is missing", "missing_required_parameter");
  bool only_results = false;
  if (const boost::json::array* blocks = content->if_array()) {
    for (std::size_t i = 0; i < blocks->size(); ++i) {
      if (MaybeProblem problem = add_block(draft, at(name + ".content", i), (*blocks)[i], message)) return problem;
    }
    only_results = message.role == "user" && message.content.empty() && !blocks->empty();
  } else if (MaybeProblem problem = plain_text(name + ".content", *content, message.content)) {
    return problem;
  }
  if (!only_results) draft.request().messages.push_back(std::move(message));
  return std::nullopt;
}

MaybeProblem apply_messages(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::array* array = value.if_array();
  if (!array || array->empty()) return bad_field(text(name), "messages must be an array of at least one message");
  draft.has_messages = true;
  for (std::size_t i = 0; i < array->size(); ++i) {
    if (MaybeProblem problem = add_message(draft, at(name, i), (*array)[i])) return problem;
  }
  return std::nullopt;
}

MaybeProblem apply_system(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return plain_text(text(name), value, draft.system);
}

MaybeProblem apply_tools(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::array* array = value.if_array();
  if (!array) return bad_field(text(name), text(name) + " must be an array of tools");
  for (std::size_t i = 0; i < array->size(); ++i) {
    const std::string item = at(name, i);
    const Object* object = (*array)[i].if_object();
    if (!object) return bad_field(item, item + " must be an object");
    const boost::json::value* type = object->if_contains("type");
    if (type && !type->is_null() && !(type->is_string() && type->get_string() == "custom")) {
      return unsupported(item, type->is_string() ? std::string(type->get_string()) : "?");
    }
    engine::Tool tool;
    if (MaybeProblem problem = text_member(item, *object, "name", tool.name)) return problem;
    if (tool.name.empty()) return bad_field(item + ".name", item + ".name must not be empty");
    if (object->contains("description")) {
      if (MaybeProblem problem = text_member(item, *object, "description", tool.description)) return problem;
    }
    const boost::json::value* schema = object->if_contains("input_schema");
    if (!schema || !schema->is_object()) return bad_field(item + ".input_schema", item + ".input_schema must be a JSON schema, an object");
    tool.parameters = boost::json::serialize(*schema);
    draft.request().chat.tools.push_back(std::move(tool));
  }
  return std::nullopt;
}

MaybeProblem apply_tool_choice(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  std::string type;
  if (MaybeProblem problem = type_of(text(name), value, type)) return problem;
  engine::ChatOptions& chat = draft.request().chat;
  if (const boost::json::value* alone = value.get_object().if_contains("disable_parallel_tool_use"); alone && !alone->is_null()) {
    bool disabled = false;
    if (MaybeProblem problem = boolean(text(name) + ".disable_parallel_tool_use", *alone, disabled)) return problem;
    chat.parallel_tool_calls = !disabled;
  }
  if (type == "auto") return std::nullopt;
  chat.tool_choice = type == "none" ? engine::ToolChoice::kNone : engine::ToolChoice::kRequired;
  if (type == "none" || type == "any") return std::nullopt;
  if (type == "tool") return text_member(text(name), value.get_object(), "name", draft.chosen_tool);
  return bad_field(text(name) + ".type", text(name) + ".type must be auto, any, tool or none");
}

MaybeProblem apply_thinking(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  std::string type;
  if (MaybeProblem problem = type_of(text(name), value, type)) return problem;
  if (type == "disabled") draft.request().chat.thinking = false;
  if (type == "enabled" || type == "disabled" || type == "adaptive") return std::nullopt;
  return bad_field(text(name) + ".type", text(name) + ".type must be enabled, disabled or adaptive");
}

// Any value of a field that does not affect the response.
MaybeProblem ignore(RequestDraft&, std::string_view, const boost::json::value&) { return std::nullopt; }

struct Field {
  std::string_view name;
  ApplyField apply;
};
constexpr Field kFields[] = {
    {"messages", apply_messages}, {"system", apply_system}, {"tools", apply_tools},   {"tool_choice", apply_tool_choice},
    {"thinking", apply_thinking}, {"metadata", ignore},     {"service_tier", ignore},
};

}   // namespace

MaybeProblem apply_anthropic_field(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  if (value.is_null()) return std::nullopt;
  for (const Field& field : kFields) {
    if (field.name == name) return field.apply(draft, name, value);
  }
  if (name == "stop_sequences") return renamed(apply_common_field(draft, "stop", value), "stop", name);
  if (name == "max_tokens" || name == "model" || name == "stream" || name == "tensorcache" || sampling_field(name)) {
    return apply_common_field(draft, name, value);
  }
  if (draft.ignores(name)) return std::nullopt;
  return bad_field(text(name), "unknown field '" + text(name) + "'", "unknown_parameter");
}

}   // namespace tensorcache::protocol
