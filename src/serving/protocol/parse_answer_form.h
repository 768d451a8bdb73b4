// Parses what a request says of its answer's form: a JSON schema, a grammar, reasoning.
#pragma once

#include <boost/json/value.hpp>

#include <string_view>

#include "serving/protocol/parse_values.h"
#include "serving/protocol/request_draft.h"

namespace tensorcache::protocol {

// RETURNS a problem that names the invalid part of the field.
[[nodiscard]] MaybeProblem apply_response_format(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] MaybeProblem apply_json_schema(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] MaybeProblem apply_grammar(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] MaybeProblem apply_template_kwargs(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] MaybeProblem apply_reasoning_effort(RequestDraft& draft, std::string_view name, const boost::json::value& value);
[[nodiscard]] MaybeProblem apply_reasoning_format(RequestDraft& draft, std::string_view name, const boost::json::value& value);

}   // namespace tensorcache::protocol
