// Reads API keys and key files.
#pragma once

#include <string>
#include <vector>

#include "serving/server/server.h"

namespace tensorcache::commands {

// Reads a key file with lines `KEY` (tenant "default"), `TENANT KEY` or `TENANT KEY admin`; '#'
// begins a comment. Throws UsageError that names the file and line, never the key. Sets `warning`
// if other users can read the file.
[[nodiscard]] std::vector<protocol::ApiKey> read_api_key_file(const std::string& path, std::string& warning);

// Splits keys given as options: each may be a comma-separated list. All belong to the tenant
// "default". Throws UsageError.
[[nodiscard]] std::vector<protocol::ApiKey> split_api_keys(const std::vector<std::string>& values);

}   // namespace tensorcache::commands
