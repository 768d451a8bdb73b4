#include "serving/llama/chat_template.h"

#include <chat.h>
#include <json-schema-to-grammar.h>

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "serving/llama/answer_format.h"
#include "serving/llama/generic_tools.h"

namespace tensorcache::llama {
namespace {

std::vector<std::string> builtin_templates() {
  std::vector<const char*> names(static_cast<std::size_t>(llama_chat_builtin_templates(nullptr, 0)));
  llama_chat_builtin_templates(names.data(), names.size());
  return {names.begin(), names.end()};
}

bool is_builtin_template(const std::string& name) {
  const std::vector<std::string> names = builtin_templates();
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string builtin_template_names() {
  std::string all;
  for (const std::string& name : builtin_templates()) all += (all.empty() ? "" : ", ") + name;
  return all;
}

common_chat_msg message_of(const engine::Message& message) {
  common_chat_msg out;
  out.role = message.role == "developer" ? "system" : message.role;   // templates know it by its older name
  out.content = message.content;
  out.reasoning_content = message.reasoning;
  out.tool_name = message.name;   // what templates see as message.name
  out.tool_call_id = message.tool_call_id;
  for (const engine::ToolCall& call : message.tool_calls) out.tool_calls.push_back({call.name, call.arguments, call.id});
  return out;
}

common_chat_tool_choice choice_of(engine::ToolChoice choice) {
  switch (choice) {
    case engine::ToolChoice::kNone:
      return COMMON_CHAT_TOOL_CHOICE_NONE;
    case engine::ToolChoice::kRequired:
      return COMMON_CHAT_TOOL_CHOICE_REQUIRED;
    case engine::ToolChoice::kAuto:
      break;
  }
  return COMMON_CHAT_TOOL_CHOICE_AUTO;
}

common_chat_templates_inputs inputs_of(const engine::Request& request) {
  common_chat_templates_inputs inputs;
  for (const engine::Message& message : request.messages) inputs.messages.push_back(message_of(message));
  for (const engine::Tool& tool : request.chat.tools) inputs.tools.push_back({tool.name, tool.description, tool.parameters});
  inputs.tool_choice = choice_of(request.chat.tool_choice);
  inputs.chat_template_kwargs = request.chat.template_kwargs;
  inputs.enable_thinking = request.chat.thinking;
  inputs.reasoning_format = request.chat.separate_reasoning ? COMMON_REASONING_FORMAT_DEEPSEEK : COMMON_REASONING_FORMAT_NONE;
  inputs.json_schema = request.json_schema;
  inputs.grammar = request.grammar;
  return inputs;
}

engine::Request one_word(const char* word) {
  engine::Request request;
  request.messages = {{"user", word}};
  return request;
}

}   // namespace

ChatTemplate::ChatTemplate(const llama_model* model, const std::string& source)
    : vocab_(llama_model_get_vocab(model)), templates_(nullptr, common_chat_templates_free), builtin_(is_builtin_template(source)) {
  const std::string option = source.empty() ? "--model: the model's chat template" : "--chat-template";
  std::string first, second;
  try {
    templates_.reset(common_chat_templates_init(model, source).release());
    source_ = common_chat_templates_source(templates_.get());
    const std::string with_tools = common_chat_templates_source(templates_.get(), "tool_use");
    if (with_tools != source_) source_ += with_tools;
    auto caps = common_chat_templates_get_caps(templates_.get());
    has_tools_ = !builtin_ && (caps["supports_tools"] || caps["supports_tool_calls"]);
    has_parallel_calls_ = caps["supports_parallel_tool_calls"];
    const Rendered apple = render(one_word("apple"));
    has_plain_answers_ = apple.format->plain;
    first = apple.prompt;
    second = render(one_word("pear")).prompt;
  } catch (const std::exception& error) {
    throw std::runtime_error(option + " cannot be used: " + error.what());
  }
  if (first == second) {
    throw std::runtime_error(option + ": the messages do not appear in what it renders. Give a Jinja template, " +
                             (source.empty() ? "by --chat-template or --chat-template-file" : "its file by --chat-template-file") +
                             ", or one of these names to --chat-template: " + builtin_template_names());
  }
  time_ = model::template_time(source_);
}

ChatTemplate::~ChatTemplate() = default;

Rendered ChatTemplate::render(const engine::Request& request) const {
  const bool may_call = !request.chat.tools.empty() && request.chat.tool_choice != engine::ToolChoice::kNone;
  common_chat_templates_inputs inputs = inputs_of(request);
  inputs.use_jinja = !builtin_;
  inputs.add_bos = llama_vocab_get_add_bos(vocab_);
  inputs.add_eos = llama_vocab_get_add_eos(vocab_);
  inputs.parallel_tool_calls = request.chat.parallel_tool_calls.value_or(has_parallel_calls_);
  const bool continues =
      !builtin_ && !request.messages.empty() && request.messages.back().role == "assistant" && request.messages.back().tool_calls.empty();
  if (continues) {   // as llama-server does
    inputs.continue_final_message = COMMON_CHAT_CONTINUATION_AUTO;
    inputs.add_generation_prompt = false;
  }
  common_chat_params params;
  bool native = has_tools_;
  if (native) {
    params = common_chat_templates_apply(templates_.get(), inputs);
    native = !may_call || !params.grammar.empty() || inputs.tool_choice != COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  }
  if (!native) {
    const std::vector<common_chat_tool> tools = inputs.tools;
    describe_tools(inputs);
    params = common_chat_templates_apply(templates_.get(), inputs);
    if (may_call && inputs.json_schema.empty()) add_tool_format(tools, inputs.tool_choice, request.chat.parallel_tool_calls.value_or(false), params);
  }
  // Where an answer is nothing but its content, its grammar is that of the schema and nothing else.
  if (!request.json_schema.empty() && !may_call && has_plain_answers_) {
    params.grammar = json_schema_to_grammar(common_json::parse(request.json_schema));
    params.parser.clear();
    params.generation_prompt.clear();
  }
  auto format = std::make_shared<AnswerFormat>(chat_format(vocab_, params, request));
  format->continues = continues;
  return {std::move(params.prompt), std::move(format)};
}

}   // namespace tensorcache::llama
