// Parses the sampling fields of a request: OpenAI's, and llama.cpp's own.
#pragma once

#include <boost/json/value.hpp>

#include <string_view>

#include "serving/protocol/parse_values.h"
#include "serving/protocol/request_draft.h"

namespace tensorcache::protocol {

using ApplyField = MaybeProblem (*)(RequestDraft&, std::string_view name, const boost::json::value&);

// RETURNS what sets this field, or nullptr for a name that is no sampling field.
[[nodiscard]] ApplyField sampling_field(std::string_view name);

}   // namespace tensorcache::protocol
