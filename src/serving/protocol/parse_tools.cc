#include "serving/protocol/parse_tools.h"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <set>
#include <utility>

namespace tensorcache::protocol {
namespace {

constexpr std::size_t kMaxTools = 1024;
constexpr std::size_t kMaxNameBytes = 256;

// RETURNS the text of a member, or a problem that names it.
MaybeProblem member_text(const std::string& name, const boost::json::object& object, std::string_view key, std::string& into) {
  const std::string param = name + "." + text(key);
  const boost::json::value* value = object.if_contains(key);
  if (!value || value->is_null()) return bad_field(param, param + " is missing", "missing_required_parameter");
  const boost::json::string* string = value->if_string();
  if (!string || string->empty() || string->size() > kMaxNameBytes) {
    return bad_field(param, param + " must be a string of 1 to " + std::to_string(kMaxNameBytes) + " bytes");
  }
  into.assign(string->data(), string->size());
  return std::nullopt;
}

// The object under `key` of a tool, a call or a choice, which must be of type "function".
MaybeProblem function_of(const std::string& name, const boost::json::value& value, const boost::json::object*& function) {
  const boost::json::object* object = value.if_object();
  if (!object) return bad_field(name, name + " must be an object");
  const boost::json::value* type = object->if_contains("type");
  if (type && !(type->is_string() && type->get_string() == "function")) {
    return bad_field(name + ".type", name + ".type must be \"function\": other kinds are not supported", "unsupported_parameter");
  }
  const boost::json::value* member = object->if_contains("function");
  function = member ? member->if_object() : nullptr;
  if (!function) return bad_field(name + ".function", name + ".function must be an object", "missing_required_parameter");
  return std::nullopt;
}

MaybeProblem add_tool(RequestDraft& draft, const std::string& name, const boost::json::value& value) {
  const boost::json::object* function = nullptr;
  if (MaybeProblem problem = function_of(name, value, function)) return problem;
  engine::Tool tool;
  const std::string inner = name + ".function";
  if (MaybeProblem problem = member_text(inner, *function, "name", tool.name)) return problem;
  for (const auto& member : *function) {
    const std::string_view key = member.key();
    if (key == "name" || key == "strict" || member.value().is_null()) continue;   // a schema is always held to
    const std::string param = inner + "." + text(key);
    if (key == "description") {
      if (!member.value().is_string()) return bad_field(param, param + " must be a string");
      tool.description = member.value().get_string();
    } else if (key == "parameters") {
      if (!member.value().is_object()) return bad_field(param, param + " must be a JSON schema, an object");
      tool.parameters = boost::json::serialize(member.value());
    } else if (!draft.ignores(param)) {
      return bad_field(param, "unknown field " + param, "unknown_parameter");
    }
  }
  if (tool.parameters.empty()) tool.parameters = "{}";
  draft.request().chat.tools.push_back(std::move(tool));
  return std::nullopt;
}

MaybeProblem add_call(const std::string& name, const boost::json::value& value, engine::ToolCall& call) {
  const boost::json::object* function = nullptr;
  if (MaybeProblem problem = function_of(name, value, function)) return problem;
  if (const boost::json::value* id = value.get_object().if_contains("id"); id && !id->is_null()) {
    if (!id->is_string()) return bad_field(name + ".id", name + ".id must be a string");
    call.id = id->get_string();
  }
  const std::string inner = name + ".function";
  if (MaybeProblem problem = member_text(inner, *function, "name", call.name)) return problem;
  const boost::json::value* arguments = function->if_contains("arguments");
  if (!arguments || arguments->is_null()) {
    call.arguments = "{}";
  } else if (const boost::json::string* string = arguments->if_string()) {
    call.arguments = string->empty() ? "{}" : std::string(*string);
  } else if (arguments->is_object()) {
    call.arguments = boost::json::serialize(*arguments);
  } else {
    return bad_field(inner + ".arguments", inner + ".arguments must be a string with a JSON object");
  }
  return std::nullopt;
}

}   // namespace

MaybeProblem apply_tools(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  const boost::json::array* array = value.if_array();
  if (!array || array->size() > kMaxTools) {
    return bad_field(text(name), text(name) + " must be an array of at most " + std::to_string(kMaxTools) + " tools");
  }
  for (std::size_t i = 0; i < array->size(); ++i) {
    if (MaybeProblem problem = add_tool(draft, at(name, i), (*array)[i])) return problem;
  }
  return std::nullopt;
}

MaybeProblem apply_tool_choice(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  engine::ToolChoice& choice = draft.request().chat.tool_choice;
  if (const boost::json::string* word = value.if_string()) {
    if (*word == "none") choice = engine::ToolChoice::kNone;
    if (*word == "required" || *word == "any") choice = engine::ToolChoice::kRequired;
    if (*word == "auto" || choice != engine::ToolChoice::kAuto) return std::nullopt;
    return bad_field(text(name), text(name) + " must be \"none\", \"auto\", \"required\" or an object that names a function");
  }
  const boost::json::object* function = nullptr;
  if (MaybeProblem problem = function_of(text(name), value, function)) return problem;
  choice = engine::ToolChoice::kRequired;
  return member_text(text(name) + ".function", *function, "name", draft.chosen_tool);
}

MaybeProblem apply_parallel_tool_calls(RequestDraft& draft, std::string_view name, const boost::json::value& value) {
  bool parallel = false;
  MaybeProblem problem = boolean(name, value, parallel);
  draft.request().chat.parallel_tool_calls = parallel;
  return problem;
}

MaybeProblem parse_tool_calls(RequestDraft&, const std::string& name, const boost::json::value& value, std::vector<engine::ToolCall>& calls) {
  const boost::json::array* array = value.if_array();
  if (!array || array->size() > kMaxTools) return bad_field(name, name + " must be an array of tool calls");
  calls.resize(array->size());
  for (std::size_t i = 0; i < array->size(); ++i) {
    if (MaybeProblem problem = add_call(at(name, i), (*array)[i], calls[i])) return problem;
  }
  return std::nullopt;
}

MaybeProblem check_tools(RequestDraft& draft) {
  engine::ChatOptions& chat = draft.request().chat;
  if (!draft.chosen_tool.empty()) {
    std::erase_if(chat.tools, [&](const engine::Tool& tool) { return tool.name != draft.chosen_tool; });
    if (chat.tools.empty()) {
      const std::string param = draft.format == Format::kChat ? "tool_choice.function.name" : "tool_choice.name";
      return bad_field(param, param + ": there is no tool '" + draft.chosen_tool + "' in tools");
    }
  }
  if (chat.tools.empty()) {
    if (chat.tool_choice == engine::ToolChoice::kRequired) return bad_field("tool_choice", "tool_choice: there are no tools to choose from");
    chat.tool_choice = engine::ToolChoice::kAuto;   // without tools they mean the same: one key
    chat.parallel_tool_calls.reset();
  } else if (!draft.request().grammar.empty() && chat.tool_choice != engine::ToolChoice::kNone) {
    return bad_field("grammar", "grammar cannot be used together with tools");
  }
  std::set<std::string_view> called;
  const std::vector<engine::Message>& messages = draft.request().messages;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    for (const engine::ToolCall& call : messages[i].tool_calls) called.insert(call.id);
    const std::string& id = messages[i].tool_call_id;
    if (!id.empty() && !called.contains(id)) {
      const std::string chat_param = at("messages", i) + ".tool_call_id";   // the others' items have other numbers
      const std::string param = draft.format == Format::kChat ? chat_param : draft.format == Format::kMessages ? "messages" : "input";
      return bad_field(param, param + ": no message before it has a tool call '" + id + "'");
    }
  }
  return std::nullopt;
}

}   // namespace tensorcache::protocol
