#include "base/net/url.h"

#include <algorithm>
#include <cctype>

namespace tensorcache::net {

std::string Url::authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return name + ":" + port;
}

std::optional<Url> parse_url(std::string_view text) {
  Url url;
  if (text.starts_with("https://")) {
    url.tls = true;
    text.remove_prefix(8);
  } else if (text.starts_with("http://")) {
    text.remove_prefix(7);
  } else {
    return std::nullopt;
  }
  const std::size_t slash = std::min(text.find('/'), text.size());
  std::string_view place = text.substr(0, slash);
  std::string_view path = text.substr(slash);
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.ends_with("/v1")) path.remove_suffix(3);
  url.path = path;
  if (place.starts_with('[')) {
    const std::size_t close = place.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    url.host = place.substr(1, close - 1);
    place.remove_prefix(close + 1);
    if (!place.empty() && place.front() != ':') return std::nullopt;
  } else {
    url.host = place.substr(0, place.find(':'));
    place.remove_prefix(url.host.size());
  }
  url.port = place.empty() ? (url.tls ? "443" : "80") : place.substr(1);
  const auto digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  const bool number = !url.port.empty() && url.port.size() <= 5 && std::all_of(url.port.begin(), url.port.end(), digit);
  const bool good_port = number && std::stoi(url.port) <= 65535;
  const bool odd = text.find_first_of(" ?#@") != std::string_view::npos;
  if (url.host.empty() || !good_port || odd) return std::nullopt;
  return url;
}

}   // namespace tensorcache::net
