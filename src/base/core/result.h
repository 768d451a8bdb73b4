// A value, or the reason why there is none: for calls that fail with a reason. A call that merely
// finds nothing returns an optional or an empty handle instead.
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
// REQUIRES: operator*, operator-> and value() are for a result that has a value, error() for one
// that has none.
#pragma once

#include <cassert>
#include <type_traits>
#include <utility>
#include <variant>

namespace tensorcache {

// The reason as a return value: tells it from a value of the same type.
template <typename Error>
struct Failure {
  Error error;
  explicit Failure(Error why) : error(std::move(why)) {}
};

template <typename Value, typename Error>
class [[nodiscard]] Result {
 public:
  // From anything that a Value is made of without a conversion being asked for.
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

// For calls that have nothing to return but success, which is `{}`.
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
