#include "serving/protocol/origin_check.h"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <string>

namespace tensorcache::protocol {
namespace {

std::string_view without_port(std::string_view authority) {
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    return close == std::string_view::npos ? authority : authority.substr(0, close + 1);
  }
  return authority.substr(0, authority.find(':'));
}

}   // namespace

bool is_loopback_name(std::string_view host) {
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  std::string name(host);
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
  if (name == "localhost" || name.ends_with(".localhost")) return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(name, error);
  return !error && address.is_loopback();
}

std::optional<Problem> check_local(std::string_view host_header, std::string_view origin_header, std::span<const std::string> allowed) {
  if (!host_header.empty() && !is_loopback_name(without_port(host_header)))
    return Problem{403,
                   "this server answers only requests made for localhost; the Host header says '" + std::string(host_header) +
                       "'. Start it with an API key to serve other names.",
                   "", "host_not_allowed", 0};
  if (origin_header.empty() || allows_origin(origin_header, allowed)) return std::nullopt;
  return Problem{403,
                 "this server answers web pages of localhost only; the Origin header says '" + std::string(origin_header) +
                     "'. Name it with --cors-origins, or start the server with an API key, to serve other pages.",
                 "", "origin_not_allowed", 0};
}

bool allows_origin(std::string_view origin_header, std::span<const std::string> allowed) {
  const std::size_t scheme = origin_header.find("://");
  const std::string_view authority = scheme == std::string_view::npos ? std::string_view() : origin_header.substr(scheme + 3);
  if (!authority.empty() && is_loopback_name(without_port(authority))) return true;
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& each) { return each == "*" || each == origin_header; });
}

std::string origin_lines(std::string_view origin_header) {
  std::string lines = "Access-Control-Allow-Origin: ";
  lines += origin_header;
  lines += "\r\nVary: Origin\r\nAccess-Control-Expose-Headers: Cache-Status, Age, Retry-After, X-Request-Id, TensorCache-Ignored-Fields\r\n";
  return lines;
}

std::string preflight_lines(std::string_view methods, std::string_view headers) {
  std::string lines = "Access-Control-Allow-Methods: ";
  lines += methods;
  lines += "\r\nAccess-Control-Allow-Headers: ";
  lines += headers.empty() ? "Authorization, Content-Type" : headers;
  lines += "\r\nAccess-Control-Max-Age: 86400\r\n";
  return lines;
}

}   // namespace tensorcache::protocol
