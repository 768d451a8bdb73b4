// Identifies callers: API keys and their tenants.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensorcache/key.h"

namespace tensorcache::protocol {

// Display name of the tenant "", for entries that all tenants share.
inline constexpr const char* kSharedByAll = "(shared by all)";

// An API key and its tenant. A tenant may have several keys.
struct ApiKey {
  std::string key;
  std::string tenant = "default";
  // May see and delete all tenants' entries, and change server-wide settings. If there is one
  // tenant and no key has this mark, every key is an admin's.
  bool admin = false;

  friend bool operator==(const ApiKey&, const ApiKey&) = default;
};

struct Caller {
  std::string tenant;   // as used in keys; "" for all if responses are shared
  bool admin = false;   // see ApiKey::admin
};

// Stores only digests of the keys.
class Tenants {
 public:
  // Throws std::invalid_argument for an empty or duplicate key and for an empty tenant name.
  Tenants(const std::vector<ApiKey>& keys, bool shared);

  [[nodiscard]] bool keys_required() const { return !entries_.empty(); }
  [[nodiscard]] bool several() const { return several_; }

  // Identifies the caller by the value of an Authorization header. RETURNS nothing if keys are
  // required and it has none of them. Takes the same time for all keys of the same length.
  [[nodiscard]] std::optional<Caller> identify(std::string_view authorization, std::string_view api_key = {}) const;

 private:
  struct Entry {
    Key digest;
    Caller caller;
  };
  std::vector<Entry> entries_;
  Caller everybody_;
  bool several_ = false;
};

}   // namespace tensorcache::protocol
