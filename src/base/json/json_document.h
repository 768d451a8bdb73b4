// A strict JSON parser: rejects ambiguous or malformed input and reports the position.
#pragma once

#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace tensorcache::json {

// One JSON document in valid UTF-8, at most 32 levels deep, no object of it with the same key twice
// (Boost.JSON would silently keep the last). Otherwise nothing, and `error` says what and at which
// byte. The value lives in `storage`.
[[nodiscard]] std::optional<boost::json::value> parse_json(std::string_view text, const boost::json::storage_ptr& storage, std::string& error);

}   // namespace tensorcache::json
