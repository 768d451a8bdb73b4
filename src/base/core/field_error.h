// An error in a setting, with the name of the invalid field. Programs whose users know the field by
// another name (an option, for example) render the message with that name.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tensorcache {

class FieldError : public std::invalid_argument {
 public:
  // what() is "FIELD: PROBLEM". `others`: further fields that the problem text mentions.
  FieldError(std::string field, std::string problem, std::vector<std::string> others = {})
      : std::invalid_argument(field + ": " + problem), field_(std::move(field)), problem_(std::move(problem)), others_(std::move(others)) {}

  [[nodiscard]] const std::string& field() const { return field_; }

  // RETURNS: what(), with each field name replaced by name(field).
  [[nodiscard]] std::string with_names(const std::function<std::string(std::string_view field)>& name) const {
    std::string problem = problem_;
    for (const std::string& other : others_) {
      const std::string shown = name(other);
      for (std::size_t at = problem.find(other); at != std::string::npos; at = problem.find(other, at + shown.size()))
        problem.replace(at, other.size(), shown);
    }
    return name(field_) + ": " + problem;
  }

 private:
  std::string field_, problem_;
  std::vector<std::string> others_;
};

}   // namespace tensorcache
