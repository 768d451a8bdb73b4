// A value, or the reason of a failure, for calls that fail with a reason. A call that merely finds
// nothing returns an optional or an empty handle instead.
//
//   tensorcache::Result<std::uint16_t, std::string> parse_port(std::string_view text) {
//     if (text.empty()) return tensorcache::Failure(std::string("the port is missing"));
//     ...
//     return number;
//   }
//   const auto port = parse_port(text);
//   if (!port) report(port.error());
//   connect(*port);
//
// REQUIRES: the result has a value for operator*, operator-> and value(), and none for error().
#pragma once

#include <cassert>
#include <type_traits>
#include <utility>
#include <variant>

namespace tensorcache {

// Wraps the reason as a return value, to distinguish it from a value of the same type.
template <typename Error>
struct Failure {
  Error error;
  explicit Failure(Error why) : error(std::move(why)) {}
};

template <typename Value, typename Error>
class [[nodiscard]] Result {
 public:
  // Converts from everything that converts implicitly to Value.
  template <typename Other = Value>
    requires(std::is_convertible_v<Other, Value> && !std::is_same_v<std::remove_cvref_t<Other>, Result>)
  Result(Other&& value) : state_(std::in_place_index<0>, std::forward<Other>(value)) {}   // NOLINT
  template <typename Other>
    requires std::is_convertible_v<Other, Error>
  Result(Failure<Other> failure) : state_(std::in_place_index<1>, std::move(failure.error)) {}   // NOLINT

  [[nodiscard]] explicit operator bool() const { return state_.index() == 0; }
  [[nodiscard]] bool has_value() const { return state_.index() == 0; }

  [[nodiscard]] Value& operator*() & { return value(); }
  [[nodiscard]] const Value& operator*() const& { return value(); }
  [[nodiscard]] Value&& operator*() && { return std::move(value()); }
  [[nodiscard]] Value* operator->() { return &value(); }
  [[nodiscard]] const Value* operator->() const { return &value(); }

  [[nodiscard]] Error& error() {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  [[nodiscard]] const Error& error() const {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }

 private:
  [[nodiscard]] Value& value() {
    assert(has_value());
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] const Value& value() const {
    assert(has_value());
    return *std::get_if<0>(&state_);
  }
  std::variant<Value, Error> state_;
};

// For calls that return nothing on success; success is `{}`.
template <typename Error>
class [[nodiscard]] Result<void, Error> {
 public:
  Result() = default;
  template <typename Other>
    requires std::is_convertible_v<Other, Error>
  Result(Failure<Other> failure) : state_(std::in_place_index<1>, std::move(failure.error)) {}   // NOLINT

  [[nodiscard]] explicit operator bool() const { return state_.index() == 0; }
  [[nodiscard]] bool has_value() const { return state_.index() == 0; }
  [[nodiscard]] const Error& error() const {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<std::monostate, Error> state_;
};

}   // namespace tensorcache
