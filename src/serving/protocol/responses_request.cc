#include "serving/protocol/responses_request.h"

#include <boost/json/serialize.hpp>

#include <string>
#include <utility>

#include "serving/protocol/parse_answer_form.h"
#include "serving/protocol/parse_fields.h"
#include "serving/protocol/parse_sampling.h"
#include "serving/protocol/parse_tools.h"

namespace tensorcache::protocol {
namespace {

using Object = boost::json::object;

bool is_text_part(std::string_view type) {
  return type == "input_text" || type == "output_text" || type == "text" || type == "reasoning_text" || type == "summary_text";
}

// A text, or parts with texts.
MaybeProblem content_text(const std::string& name, const boost::json::value& value, std::string& into) {
  if (const boost::json::string* string = value.if_string()) {
    into.assign(string->data(), string->size());
    return std::nullopt;
  }
  const boost::json::array* parts = value.if_array();
  if (!parts) return bad_field(name, name + " must be a string or an array of parts");
  for (std::size_t i = 0; i < parts->size(); ++i) {
    const std::string part = at(name, i);
    const Object* object = (*parts)[i].if_object();
    if (!object) return bad_field(part, part + " must be an object with a type");
    std::string type, words;
    if (MaybeProblem problem = text_member(part, *object, "type", type)) return problem;
    const bool refusal = type == "refusal";
    if (!refusal && !is_text_part(type)) {
      return bad_field(part + ".type", part + ".type: only texts are supported, not \"" + type + "\"", "unsupported_parameter");
    }
    if (MaybeProblem problem = text_member(part, *object, refusal ? "refusal" : "text", words)) return problem;
    if (i > 0) into += '\n';
    into += words;
  }
  return std::nullopt;
}

engine::Message& assistant_turn(RequestDraft& draft) {
  std::vector<engine::Message>& messages = draft.request().messages;
  if (messages.empty() || messages.back().role != "assistant") messages.push_back({"assistant", ""});
  return messages.back();
}

MaybeProblem add_input_message(RequestDraft& draft, const std::string& name, const Object& object) {
  engine::Message message;
  if (MaybeProblem problem = text_member(name, object, "role", message.role)) return problem;
  const boost::json::value* content = object.if_contains("content");
  if (!content || content->is_null()) return bad_field(name + ".content", name + ".content is missing", "missing_required_parameter");
  if (MaybeProblem problem = content_text(name + ".content", *content, message.content)) return problem;
  if (message.role == "assistant") {   // reasoning, text and calls of one turn are items of their own
    engine::Message& turn = assistant_turn(draft);
    if (!turn.content.empty()) turn.content += '\n';
    turn.content += message.content;
    return std::nullopt;
  }
  if (message.role != "user" && message.role != "system" && message.role != "developer") {
    return bad_field(name + ".role", name + ".role must be user, system, developer or assistant");
  }
  draft.request().messages.push_back(std::move(message));
  return std::nullopt;
}

MaybeProblem add_function_call(RequestDraft& draft, const std::string& name, const Object& object) {
  engine::ToolCall call;
  if (MaybeProblem problem = text_member(name, object, "call_id", call.id)) return problem;
  if (MaybeProblem problem = text_member(name, object, "name", call.name)) return problem;
  if (MaybeProblem problem = text_member(name, object, "arguments", call.arguments)) return problem;
  if (call.arguments.empty()) call.arguments = "{}";
  assistant_turn(draft).tool_calls.push_back(std::move(call));
  return std::nullopt;
}

MaybeProblem add_call_output(RequestDraft& draft, const std::string& name, const Object& object) {
  engine::Message message;
  message.role = "tool";
  if (MaybeProblem problem = text_member(name, object, "call_id", message.tool_call_id)) return problem;
  const boost::json::value* output = object.if_contains("output");
  if (!output || output->is_null()) return bad_field(name + ".output", name + ".output is missing", "missing_required_parameter");
  if (MaybeProblem problem = content_text(name + ".output", *output, message.content)) return problem;
  draft.request().messages.push_back(std::move(message));
  return std::nullopt;
}

MaybeProblem add_reasoning(RequestDraft& draft, const std::string& name, const Object& object) {
  const boost::json::value* content = object.if_contains("content");
  if (!content || content->is_null()) return std::nullopt;
  return content_text(name + ".content", *content, assistant_turn(draft).reasoning);
}

MaybeProblem add_item(RequestDraft& draft, const std::string& name, const boost::json::value& value) {
  const Object* object = value.if_object();
  if (!object) return bad_field(name, name + " must be an object");
  std::string type = "message";
  if (object->contains("type")) {
    if (MaybeProblem problem = text_member(name, *object, "type", type)) return problem;
  }
  if (type == "message") return add_input_message(draft, name, *object);
  if (type == "function_call") return add_function_call(draft, name, *object);
  if (type == "function_call_output") return add_call_output(draft, name, *object);
  if (type == "reasoning") return add_reasoning(draft, name, *object);
  return bad_field(name + ".type", name + ".type: \"" + type + "\" is not supported", "unsupported_parameter");
}

MaybeProblem apply_input(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  draft.has_messages = true;
  if (const boost::json::string* string = value.if_string()) {
    draft.request().messages.push_back({"user", std::string(*string)});
    return std::nullopt;
  }
  const boost::json::array* items = value.if_array();
  if (!items || items->empty()) return bad_field(text(name), "input must be a string or an array of at least one item");
  for (std::size_t i = 0; i < items->size(); ++i) {
    if (MaybeProblem problem = add_item(draft, at(name, i), (*items)[i])) return problem;
  }
  return std::nullopt;
}

MaybeProblem apply_instructions(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  return content_text(text(name), value, draft.system);
}

// Tools as in chats, but without the object "function" around name and schema.
MaybeProblem apply_flat_tools(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::array* array = value.if_array();
  if (!array) return bad_field(text(name), text(name) + " must be an array of tools");
  boost::json::array wrapped;
  for (const boost::json::value& tool : *array) {
    const boost::json::value* type = tool.is_object() ? tool.get_object().if_contains("type") : nullptr;
    wrapped.push_back(type ? Object{{"type", *type}, {"function", tool}} : Object{{"function", tool}});
    if (type) wrapped.back().get_object()["function"].get_object().erase("type");
  }
  return renamed(apply_tools(draft, name, wrapped), ".function", "");
}

MaybeProblem apply_flat_tool_choice(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const Object* object = value.if_object();
  if (!object || !object->contains("name")) return apply_tool_choice(draft, name, value);
  Object wrapped{{"function", Object{{"name", object->at("name")}}}};
  if (const boost::json::value* type = object->if_contains("type")) wrapped["type"] = *type;
  return renamed(apply_tool_choice(draft, name, wrapped), ".function", "");
}

// {"format":{..}}, whose members are those of response_format, without the object "json_schema".
MaybeProblem apply_text(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const Object* object = value.if_object();
  if (!object) return bad_field(text(name), text(name) + " must be an object");
  const boost::json::value* format = object->if_contains("format");
  if (!format || format->is_null()) return std::nullopt;
  const Object* inner = format->if_object();
  if (!inner || !inner->contains("schema")) return apply_response_format(draft, text(name) + ".format", *format);
  Object wrapped{{"json_schema", Object{{"schema", inner->at("schema")}}}};
  if (const boost::json::value* type = inner->if_contains("type")) wrapped["type"] = *type;
  return renamed(apply_response_format(draft, text(name) + ".format", wrapped), ".json_schema", "");
}

MaybeProblem apply_reasoning(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const Object* object = value.if_object();
  if (!object) return bad_field(text(name), text(name) + " must be an object");
  const boost::json::value* effort = object->if_contains("effort");
  return effort && !effort->is_null() ? apply_reasoning_effort(draft, text(name) + ".effort", *effort) : std::nullopt;
}

MaybeProblem apply_previous(RequestDraft&, std::string_view name, const boost::json::value&) {
  return bad_field(text(name), text(name) + " is not supported: this server keeps no conversations; send the earlier items in input",
                   "unsupported_parameter");
}

MaybeProblem only_false(RequestDraft&, std::string_view name, const boost::json::value& value) {
  return only(value.is_bool() && !value.get_bool(), name, "false");
}

// Any value of a field that does not affect the response.
MaybeProblem ignore(RequestDraft&, std::string_view, const boost::json::value&) { return std::nullopt; }

struct Field {
  std::string_view name;
  ApplyField apply;
};
constexpr Field kFields[] = {
    {"input", apply_input},
    {"instructions", apply_instructions},
    {"tools", apply_flat_tools},
    {"tool_choice", apply_flat_tool_choice},
    {"parallel_tool_calls", apply_parallel_tool_calls},
    {"text", apply_text},
    {"reasoning", apply_reasoning},
    {"previous_response_id", apply_previous},
    {"conversation", apply_previous},
    {"background", only_false},
    {"store", ignore},
    {"include", ignore},
    {"metadata", ignore},
    {"truncation", ignore},
    {"user", ignore},
    {"service_tier", ignore},
    {"safety_identifier", ignore},
    {"prompt_cache_key", ignore},
    {"prompt_cache_retention", ignore},
    {"max_tool_calls", ignore},
    {"stream_options", ignore},
};

}   // namespace

MaybeProblem apply_responses_field(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  if (value.is_null()) return std::nullopt;
  for (const Field& field : kFields) {
    if (field.name == name) return field.apply(draft, name, value);
  }
  if (name == "max_output_tokens") return renamed(apply_common_field(draft, "max_tokens", value), "max_tokens", name);
  if (name == "model" || name == "stream" || name == "stop" || name == "tensorcache" || name == "chat_template_kwargs" || sampling_field(name)) {
    return apply_common_field(draft, name, value);
  }
  if (draft.ignores(name)) return std::nullopt;
  return bad_field(text(name), "unknown field '" + text(name) + "'", "unknown_parameter");
}

}   // namespace tensorcache::protocol
