#include "serving/protocol/parse_values.h"

#include <cmath>

namespace tensorcache::protocol {

std::string at(std::string_view list, std::size_t index) { return text(list) + "[" + std::to_string(index) + "]"; }

std::optional<double> number_of(const boost::json::value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return std::nullopt;
}

std::optional<std::int64_t> integer_of(const boost::json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64()) return std::numeric_limits<std::int64_t>::max();
  if (value.is_double()) {
    const double number = value.get_double();
    if (number == std::floor(number) && std::fabs(number) < 9e18) return static_cast<std::int64_t>(number);
  }
  return std::nullopt;
}

MaybeProblem number_in(std::string_view name, const boost::json::value& value, double low, double high, float& into) {
  const std::optional<double> number = number_of(value);
  if (!number || !(*number >= low && *number <= high)) {
    const auto shown = [](double bound) { return bound == std::floor(bound) ? std::to_string(static_cast<long>(bound)) : std::to_string(bound); };
    return bad_field(text(name), text(name) + " must be a number from " + shown(low) + " to " + shown(high));
  }
  into = static_cast<float>(*number);
  return std::nullopt;
}

MaybeProblem integer_in(std::string_view name, const boost::json::value& value, std::int32_t low, std::int32_t high, std::int32_t& into) {
  const std::optional<std::int64_t> number = integer_of(value);
  if (!number || *number < low || *number > high) {
    return bad_field(text(name), text(name) + " must be an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  into = static_cast<std::int32_t>(*number);
  return std::nullopt;
}

MaybeProblem boolean(std::string_view name, const boost::json::value& value, bool& into) {
  if (!value.is_bool()) return bad_field(text(name), text(name) + " must be true or false");
  into = value.get_bool();
  return std::nullopt;
}

MaybeProblem text_member(const std::string& name, const boost::json::object& object, std::string_view key, std::string& into) {
  const boost::json::value* value = object.if_contains(key);
  if (!value || !value->is_string()) return bad_field(name + "." + text(key), name + "." + text(key) + " must be a string");
  into = value->get_string();
  return std::nullopt;
}

MaybeProblem renamed(MaybeProblem problem, std::string_view from, std::string_view to) {
  if (!problem) return problem;
  for (std::string* words : {&problem->param, &problem->message}) {
    for (std::size_t at = words->find(from); at != std::string::npos; at = words->find(from, at + to.size())) words->replace(at, from.size(), to);
  }
  return problem;
}

MaybeProblem only(bool allowed, std::string_view name, std::string_view what) {
  if (allowed) return std::nullopt;
  return bad_field(text(name), text(name) + " is not supported" + (what.empty() ? "" : ", except as ") + text(what), "unsupported_parameter");
}

}   // namespace tensorcache::protocol
