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

std::optional<Problem> check_local(std::string_view host_header, std::string_view origin_header) {
  if (!host_header.empty() && !is_loopback_name(without_port(host_header)))
    return Problem{403,
                   "this server answers only requests made for localhost; the Host header says '" + std::string(host_header) +
                       "'. Start it with an API key to serve other names.",
                   "", "host_not_allowed", 0};
  if (origin_header.empty()) return std::nullopt;
  const std::size_t scheme = origin_header.find("://");
  const std::string_view authority = scheme == std::string_view::npos ? std::string_view() : origin_header.substr(scheme + 3);
  if (is_loopback_name(without_port(authority))) return std::nullopt;
  return Problem{403,
                 "this server answers web pages of localhost only; the Origin header says '" + std::string(origin_header) +
                     "'. Start it with an API key to serve other pages.",
                 "", "origin_not_allowed", 0};
}

}   // namespace tensorcache::protocol
