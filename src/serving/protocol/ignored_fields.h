// How a client is told which fields of its request were ignored.
#pragma once

#include <span>
#include <string>

namespace tensorcache::protocol {

// RETURNS "" or a header line, `TensorCache-Ignored-Fields: verbosity, messages[0].x` with CR LF.
// Characters that have no place in a header are shown as "?".
[[nodiscard]] std::string ignored_fields_line(std::span<const std::string> names);

}   // namespace tensorcache::protocol
