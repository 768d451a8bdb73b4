// Parses URLs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tensorcache::net {

struct Url {
  bool tls = false;
  std::string host, port;
  std::string path;   // the part before "/v1/...": "" or "/prefix"

  // RETURNS the value of the Host header.
  [[nodiscard]] std::string authority() const;
};

// Parses "http://127.0.0.1:8080", "https://example.org/api", with or without a trailing "/v1".
// RETURNS nothing for other texts.
[[nodiscard]] std::optional<Url> parse_url(std::string_view text);

}   // namespace tensorcache::net
