#include "app/commands/api_keys.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "app/options/option_set.h"

namespace tensorcache::commands {

std::vector<protocol::ApiKey> read_api_key_file(const std::string& path, std::string& warning) {
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path)) throw options::UsageError("cannot read " + path);
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && (info.st_mode & (S_IRGRP | S_IROTH)) != 0) {
    warning = path + " is readable by other users: set mode 600";
  }
  std::vector<protocol::ApiKey> keys;
  std::map<std::string, std::string> tenant_of;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::istringstream words(line);
    std::vector<std::string> word;
    for (std::string each; words >> each && each[0] != '#';) word.push_back(each);   // '#' within a key is an ordinary character
    if (word.empty()) continue;
    const std::string place = path + ":" + std::to_string(number) + ": ";
    if (word.size() > 3 || (word.size() == 3 && word[2] != "admin")) {
      throw options::UsageError(place + "expected KEY, TENANT KEY or TENANT KEY admin");
    }
    // Not a tenant name and the guessable key "admin".
    if (word.size() == 2 && word[1] == "admin") throw options::UsageError(place + "expected TENANT KEY admin");
    protocol::ApiKey key;
    key.key = word.size() == 1 ? word[0] : word[1];
    if (word.size() > 1) key.tenant = word[0];
    key.admin = word.size() == 3;
    const auto [known, is_new] = tenant_of.emplace(key.key, key.tenant);
    if (!is_new) throw options::UsageError(place + "duplicate API key");
    keys.push_back(std::move(key));
  }
  if (keys.empty()) throw options::UsageError(path + " contains no API key");
  return keys;
}

std::vector<protocol::ApiKey> split_api_keys(const std::vector<std::string>& values) {
  std::vector<protocol::ApiKey> keys;
  for (const std::string& value : values) {
    std::istringstream parts(value);
    for (std::string part; std::getline(parts, part, ',');) {
      if (part.empty()) continue;
      protocol::ApiKey key;
      key.key = part;
      keys.push_back(std::move(key));
    }
  }
  if (!values.empty() && keys.empty()) throw options::UsageError("is empty");
  return keys;
}

}   // namespace tensorcache::commands
