// Splits a byte stream that arrives in arbitrary pieces into server-sent events.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tensorcache::net {

class SseParser {
 public:
  // RETURNS the `data` of each event that `bytes` completes, lines joined by '\n'. Comments, other
  // fields and events without data are skipped.
  [[nodiscard]] std::vector<std::string> feed(std::string_view bytes);

 private:
  void take_line(std::vector<std::string>& events);
  std::string line_, data_;
  bool has_data_ = false, after_cr_ = false;
};

}   // namespace tensorcache::net
