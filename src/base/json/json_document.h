// A strict JSON parser: rejects ambiguous or malformed input and reports the position.
#pragma once

#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>

#include <string>
#include <string_view>

#include "base/core/result.h"

namespace tensorcache::json {

// Takes one JSON document in valid UTF-8, at most 32 levels deep, no object of it with the same key
// twice (Boost.JSON would silently keep the last). RETURNS: the value, which lives in `storage`; or
// what is wrong with the text, and at which byte.
[[nodiscard]] Result<boost::json::value, std::string> parse_json(std::string_view text, const boost::json::storage_ptr& storage);

}   // namespace tensorcache::json
