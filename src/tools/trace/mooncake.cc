#include "tools/trace/mooncake.h"

#include <boost/json.hpp>
#include <stdexcept>

namespace tensorcache::trace {
namespace {

std::uint64_t count_in(const boost::json::object& object, const char* name) {
  const boost::json::value* value = object.if_contains(name);
  boost::system::error_code failed;
  const double number = value != nullptr && value->is_number() ? value->to_number<double>(failed) : -1;
  if (!(number >= 0 && number < 1e15) || failed) throw std::runtime_error(std::string(name) + " is missing or not a number of at least 0");
  return static_cast<std::uint64_t>(number);
}

}   // namespace

Request parse_mooncake(const std::string& line) {
  boost::system::error_code failed;
  const boost::json::value value = boost::json::parse(line, failed);
  if (failed || !value.is_object()) throw std::runtime_error("is not a JSON object");
  const boost::json::object& object = value.get_object();
  Request request{count_in(object, "timestamp"), count_in(object, "input_length"), count_in(object, "output_length"), {}};
  if (object.contains("block_bytes")) request.block_bytes = count_in(object, "block_bytes");
  const boost::json::value* ids = object.if_contains("hash_ids");
  if (ids == nullptr || !ids->is_array()) throw std::runtime_error("hash_ids is missing or not an array");
  for (const boost::json::value& id : ids->get_array()) {
    if (!id.is_number()) throw std::runtime_error("hash_ids contains an element that is not a number");
    request.blocks.push_back(static_cast<std::uint64_t>(id.to_number<std::int64_t>(failed)));
  }
  return request;
}

}   // namespace tensorcache::trace
