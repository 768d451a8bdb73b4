#include "serving/llama/generic_tools.h"

#include <chat-peg-parser.h>
#include <json-schema-to-grammar.h>

#include <string>
#include <utility>
#include <vector>

namespace tensorcache::llama {
namespace {

// The tags that most models with tools were trained on.
constexpr const char* kCallBegin = "<tool_call>";
constexpr const char* kCallEnd = "</tool_call>";

std::string description(const common_chat_templates_inputs& inputs) {
  std::string text = "You can call these functions, given as JSON schemas:\n<tools>\n";
  text += common_chat_tools_to_json_oaicompat(inputs.tools).dump();
  text += "\n</tools>\n";
  text += inputs.tool_choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED ? "You must call one now." : "If one of them helps to answer, call it.";
  text += " A call has this form, with nothing after it:\n";
  text += std::string(kCallBegin) + "{\"name\": \"NAME\", \"arguments\": {}}" + kCallEnd;
  return text;
}

// A call or a result in the form that the description gives.
void write_as_text(common_chat_msg& message) {
  for (const common_chat_tool_call& call : std::exchange(message.tool_calls, {})) {
    if (!message.content.empty()) message.content += '\n';
    const common_json name(call.name);
    message.content += kCallBegin + std::string("{\"name\": ") + name.dump() + ", \"arguments\": " + call.arguments + "}" + kCallEnd;
  }
  if (message.role == "tool") {
    message.role = "user";
    message.content = "<tool_response>\n" + message.content + "\n</tool_response>";
    message.tool_call_id.clear();
  }
}

}   // namespace

void describe_tools(common_chat_templates_inputs& inputs) {
  for (common_chat_msg& message : inputs.messages) write_as_text(message);
  if (!inputs.tools.empty() && inputs.tool_choice != COMMON_CHAT_TOOL_CHOICE_NONE) {
    const std::string text = description(inputs);
    if (!inputs.messages.empty() && inputs.messages.front().role == "system") {
      inputs.messages.front().content += "\n\n" + text;
    } else {
      common_chat_msg system;
      system.role = "system";
      system.content = text;
      inputs.messages.insert(inputs.messages.begin(), std::move(system));
    }
  }
  inputs.tools.clear();
}

void add_tool_format(const std::vector<common_chat_tool>& tools, common_chat_tool_choice choice, bool parallel, common_chat_params& params) {
  const bool required = choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  const common_json described = common_chat_tools_to_json_oaicompat(tools);
  const common_peg_arena parser = build_chat_peg_parser([&](common_chat_peg_builder& p) {
    auto calls = p.standard_json_tools(kCallBegin, kCallEnd, described, parallel, required, "name", "arguments");
    if (required) return p.space() + calls + p.space() + p.end();
    return p.content(p.until(kCallBegin)) + calls + p.space() + p.end();
  });
  params.format = COMMON_CHAT_FORMAT_PEG_NATIVE;
  params.parser = parser.save();
  params.generation_prompt.clear();   // the answer begins after it, for parser and grammar
  params.grammar_lazy = !required;
  params.grammar = build_grammar([&](const common_grammar_builder& builder) { parser.build_grammar(builder, params.grammar_lazy); });
  params.grammar_triggers.clear();
  if (params.grammar_lazy) params.grammar_triggers.push_back({COMMON_GRAMMAR_TRIGGER_TYPE_WORD, kCallBegin});
}

}   // namespace tensorcache::llama
