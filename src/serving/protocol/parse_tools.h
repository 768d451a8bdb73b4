// Parses the tools of a chat, the choice among them, and the calls and results of its earlier turns.
#pragma once

#include <boost/json/value.hpp>

#include <string>
#include <string_view>

#include "serving/protocol/parse_values.h"
#include "serving/protocol/request_draft.h"

namespace tensorcache::protocol {

// RETURNS a problem that names the invalid part of the field.
[[nodiscard]] MaybeProblem apply_tools(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] MaybeProblem apply_tool_choice(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] MaybeProblem apply_parallel_tool_calls(RequestDraft& draft, std::string_view name, const boost::json::value& value);

// The calls of an assistant's turn.
[[nodiscard]] MaybeProblem parse_tool_calls(RequestDraft& draft, const std::string& name, const boost::json::value& value,
                                            std::vector<engine::ToolCall>& calls);

// What can be checked when all fields are known: a choice needs tools, and a result the call that it answers.
[[nodiscard]] MaybeProblem check_tools(RequestDraft& draft);

}   // namespace tensorcache::protocol
