// Values of request fields: numbers, integers and booleans with their ranges.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "serving/protocol/problem.h"

namespace tensorcache::protocol {

using MaybeProblem = std::optional<Problem>;

[[nodiscard]] inline std::string text(std::string_view name) { return std::string(name); }
// RETURNS "list[3]".
[[nodiscard]] std::string at(std::string_view list, std::size_t index);

[[nodiscard]] std::optional<double> number_of(const boost::json::value& value);
// RETURNS an integer, also if written as 3.0; clamped to 64 bits.
[[nodiscard]] std::optional<std::int64_t> integer_of(const boost::json::value& value);

// Each sets `into`, or RETURNS a problem that names the field and what it must be.
[[nodiscard]] MaybeProblem number_in(std::string_view name, const boost::json::value& value, double low, double high, float& into);
[[nodiscard]] MaybeProblem integer_in(std::string_view name, const boost::json::value& value, std::int32_t low, std::int32_t high,
                                      std::int32_t& into);
// The member `key` of the object that is called `name`.
[[nodiscard]] MaybeProblem text_member(const std::string& name, const boost::json::object& object, std::string_view key, std::string& into);
[[nodiscard]] MaybeProblem boolean(std::string_view name, const boost::json::value& value, bool& into);

// The same problem in the words of another protocol: with every `from` replaced by `to`.
[[nodiscard]] MaybeProblem renamed(MaybeProblem problem, std::string_view from, std::string_view to);

// RETURNS a problem unless the value is the only one that is supported; `what` shows that value.
[[nodiscard]] MaybeProblem only(bool allowed, std::string_view name, std::string_view what);

}   // namespace tensorcache::protocol
