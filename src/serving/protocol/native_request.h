// Parses the fields of llama-server's own completions (POST /completion).
#pragma once

#include <boost/json/value.hpp>

#include <string_view>

#include "serving/protocol/parse_values.h"
#include "serving/protocol/request_draft.h"

namespace tensorcache::protocol {

// Sets the field `name`. RETURNS a problem if the field or its value is not supported.
[[nodiscard]] MaybeProblem apply_native_field(RequestDraft& draft, std::string_view name, const boost::json::value& value);

}   // namespace tensorcache::protocol
