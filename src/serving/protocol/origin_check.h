// Protects a local server from web pages: DNS rebinding and cross-origin requests.
#pragma once

#include <optional>
#include <string_view>

#include "serving/protocol/problem.h"

namespace tensorcache::protocol {

// RETURNS true for "localhost", its subdomains, 127.0.0.0/8 and ::1 (also in brackets).
[[nodiscard]] bool is_loopback_name(std::string_view host);

// RETURNS a 403 if the request was made for another host, or by a page of another host. For servers
// that listen on loopback without API keys, which any page in a local browser could call.
[[nodiscard]] std::optional<Problem> check_local(std::string_view host_header, std::string_view origin_header);

}   // namespace tensorcache::protocol
