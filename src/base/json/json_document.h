// A strict JSON parser: rejects ambiguous or malformed input and reports the position.
#pragma once

#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>

#include <string>
#include <string_view>

#include "base/core/result.h"

namespace tensorcache::json {

// Parses one JSON document: valid UTF-8, at most 32 levels deep, no object with a duplicate key
// (Boost.JSON would silently keep the last). RETURNS: the value, which lives in `storage`; or the
// error and its byte offset.
[[nodiscard]] Result<boost::json::value, std::string> parse_json(std::string_view text, const boost::json::storage_ptr& storage);

}   // namespace tensorcache::json
