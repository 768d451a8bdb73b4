// Reads API keys and key files.
#pragma once

#include <string>
#include <vector>

#include "serving/server/server.h"

namespace tensorcache::commands {

// A key file: a line is `KEY` (of the tenant "default"), `TENANT KEY` or `TENANT KEY admin`; '#'
// begins a comment. Throws UsageError that names the file and line, never the key. `warning` is set
// if others than the owner can read the file.
[[nodiscard]] std::vector<protocol::ApiKey> read_api_key_file(const std::string& path, std::string& warning);

// Keys given as an option: each may be a list with commas. All are the tenant "default". Throws
// UsageError.
[[nodiscard]] std::vector<protocol::ApiKey> split_api_keys(const std::vector<std::string>& values);

}   // namespace tensorcache::commands
