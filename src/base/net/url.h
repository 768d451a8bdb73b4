// Parses URLs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tensorcache::net {

struct Url {
  bool tls = false;
  std::string host, port;
  std::string path;   // what stands before "/v1/...": "" or "/prefix"

  // As the Host header has it.
  [[nodiscard]] std::string authority() const;
};

// "http://127.0.0.1:8080", "https://example.org/api", with or without a "/v1" at the end. Nothing
// if it is none of these.
[[nodiscard]] std::optional<Url> parse_url(std::string_view text);

}   // namespace tensorcache::net
