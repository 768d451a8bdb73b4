// Parses the fields of a request body.
#pragma once

#include <boost/json/value.hpp>

#include <optional>
#include <string_view>

#include "serving/protocol/problem.h"
#include "serving/protocol/request_draft.h"

namespace tensorcache::protocol {

// Sets the field `name`. RETURNS a problem if the field or its value is not supported.
[[nodiscard]] std::optional<Problem> apply_field(RequestDraft& draft, std::string_view name, const boost::json::value& value);

// The same for a field that other protocols share with these, under the name that it has here.
[[nodiscard]] std::optional<Problem> apply_common_field(RequestDraft& draft, std::string_view name, const boost::json::value& value);

}   // namespace tensorcache::protocol
