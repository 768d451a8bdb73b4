// Which web pages may use the server: protects a local one from DNS rebinding and other hosts' pages, and tells browsers (CORS).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "serving/protocol/problem.h"

namespace tensorcache::protocol {

// RETURNS true for "localhost", its subdomains, 127.0.0.0/8 and ::1 (also in brackets).
[[nodiscard]] bool is_loopback_name(std::string_view host);

// RETURNS a 403 if the request was made for another host, or by a page of another host. For servers
// that listen on loopback without API keys, which any page in a local browser could call.
// `allowed`: origins that are not pages of another host, see allows_origin().
[[nodiscard]] std::optional<Problem> check_local(std::string_view host_header, std::string_view origin_header,
                                                 std::span<const std::string> allowed = {});

// RETURNS whether a browser may show a page of that origin the replies: one of this machine, or one that is in `allowed`, where "*" is all.
[[nodiscard]] bool allows_origin(std::string_view origin_header, std::span<const std::string> allowed);
// RETURNS the header lines that tell it so.
[[nodiscard]] std::string origin_lines(std::string_view origin_header);
// RETURNS the header lines of the reply to a preflight. `methods`, `headers`: as the browser may send them.
[[nodiscard]] std::string preflight_lines(std::string_view methods, std::string_view headers);

}   // namespace tensorcache::protocol
