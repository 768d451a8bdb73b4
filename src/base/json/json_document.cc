#include "base/json/json_document.h"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>

#include <set>
#include <utility>
#include <vector>

namespace tensorcache::json {
namespace {

using boost::json::error_code;
using boost::json::string_view;

// Builds the document as Boost's own handler does, and counts members to detect dropped duplicates.
struct Handler {
  static constexpr std::size_t max_object_size = boost::json::object::max_size(), max_array_size = boost::json::array::max_size(),
                               max_key_size = boost::json::string::max_size(), max_string_size = boost::json::string::max_size();

  boost::json::value_stack stack;
  std::size_t members = 0;

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return true; }
  bool on_object_end(std::size_t count, error_code&) {
    members += count;
    stack.push_object(count);
    return true;
  }
  bool on_array_begin(error_code&) { return true; }
  bool on_array_end(std::size_t count, error_code&) { return stack.push_array(count), true; }
  bool on_key_part(string_view part, std::size_t, error_code&) { return stack.push_chars(part), true; }
  bool on_key(string_view rest, std::size_t, error_code&) { return stack.push_key(rest), true; }
  bool on_string_part(string_view part, std::size_t, error_code&) { return stack.push_chars(part), true; }
  bool on_string(string_view rest, std::size_t, error_code&) { return stack.push_string(rest), true; }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(std::int64_t value, string_view, error_code&) { return stack.push_int64(value), true; }
  bool on_uint64(std::uint64_t value, string_view, error_code&) { return stack.push_uint64(value), true; }
  bool on_double(double value, string_view, error_code&) { return stack.push_double(value), true; }
  bool on_bool(bool value, error_code&) { return stack.push_bool(value), true; }
  bool on_null(error_code&) { return stack.push_null(), true; }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }
};

// Finds the name of the duplicate member; used only on a document that has one.
struct DuplicateFinder {
  static constexpr std::size_t max_object_size = Handler::max_object_size, max_array_size = Handler::max_array_size,
                               max_key_size = Handler::max_key_size, max_string_size = Handler::max_string_size;

  std::vector<std::set<std::string>> open_objects;
  std::string key, duplicate;

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return open_objects.emplace_back(), true; }
  bool on_object_end(std::size_t, error_code&) { return open_objects.pop_back(), true; }
  bool on_array_begin(error_code&) { return true; }
  bool on_array_end(std::size_t, error_code&) { return true; }
  bool on_key_part(string_view part, std::size_t, error_code&) { return key.append(part), true; }
  bool on_key(string_view rest, std::size_t, error_code&) {
    key.append(rest);
    if (duplicate.empty() && !open_objects.back().insert(key).second) duplicate = key;
    key.clear();
    return true;
  }
  bool on_string_part(string_view, std::size_t, error_code&) { return true; }
  bool on_string(string_view, std::size_t, error_code&) { return true; }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(std::int64_t, string_view, error_code&) { return true; }
  bool on_uint64(std::uint64_t, string_view, error_code&) { return true; }
  bool on_double(double, string_view, error_code&) { return true; }
  bool on_bool(bool, error_code&) { return true; }
  bool on_null(error_code&) { return true; }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }
};

std::size_t count_members(const boost::json::value& value) {
  std::size_t count = 0;
  if (const boost::json::object* object = value.if_object()) {
    count = object->size();
    for (const auto& member : *object) count += count_members(member.value());
  } else if (const boost::json::array* array = value.if_array()) {
    for (const boost::json::value& element : *array) {
      if (!element.is_structured()) continue;
      count += count_members(element);
    }
  }
  return count;
}

std::string name_duplicate(std::string_view text) {
  boost::json::basic_parser<DuplicateFinder> parser{boost::json::parse_options{}};
  error_code error;
  parser.write_some(false, text.data(), text.size(), error);
  return parser.handler().duplicate;
}

}   // namespace

Result<boost::json::value, std::string> parse_json(std::string_view text, const boost::json::storage_ptr& storage) {
  boost::json::basic_parser<Handler> parser{boost::json::parse_options{}};
  parser.handler().stack.reset(storage);
  error_code code;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), code);
  if (!code && read < text.size()) code = boost::json::error::extra_data;
  if (code) return Failure(code.message() + " at byte " + std::to_string(read));
  boost::json::value document = parser.handler().stack.release();
  if (count_members(document) != parser.handler().members) return Failure("the key '" + name_duplicate(text) + "' is given twice in one object");
  return document;
}

}   // namespace tensorcache::json
