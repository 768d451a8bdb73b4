// Tool calls for models whose chat template has none: a system message describes the tools, and a grammar holds the model to the form.
#pragma once

#include <chat.h>

namespace tensorcache::llama {

// Adds the description of `inputs.tools` to the messages, writes earlier calls and their results as text, and removes the tools.
void describe_tools(common_chat_templates_inputs& inputs);

// Adds parser, grammar and trigger of calls to what the template gave for the inputs of describe_tools().
// REQUIRES: `tools` is not empty, and the choice is not "none".
void add_tool_format(const std::vector<common_chat_tool>& tools, common_chat_tool_choice choice, bool parallel, common_chat_params& params);

}   // namespace tensorcache::llama
