// Rejects requests of web pages to a local server: DNS rebinding and cross-origin requests.
#pragma once

#include <optional>
#include <string_view>

#include "serving/protocol/problem.h"

namespace tensorcache::protocol {

// True for "localhost", a name under it, 127.0.0.0/8 and ::1 (also in brackets).
[[nodiscard]] bool is_loopback_name(std::string_view host);

// A 403 if a request with these headers was made for another host than this machine, or by another
// host's page. For servers that listen on loopback without keys: there the browser is all that
// keeps a page from asking.
[[nodiscard]] std::optional<Problem> check_local(std::string_view host_header, std::string_view origin_header);

}   // namespace tensorcache::protocol
