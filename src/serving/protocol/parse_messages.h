// Parses the messages of a chat and the prompt of a completion.
#pragma once

#include <boost/json/value.hpp>

#include <optional>
#include <string_view>

#include "serving/protocol/problem.h"
#include "serving/protocol/request_draft.h"

namespace tensorcache::protocol {

// RETURNS a problem that names the invalid part of the field.
[[nodiscard]] std::optional<Problem> apply_messages(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] std::optional<Problem> apply_prompt(RequestDraft& draft, std::string_view name, const boost::json::value& value);

}   // namespace tensorcache::protocol
