// Identifies callers: API keys and their tenants.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensorcache/key.h"

namespace tensorcache::protocol {

// What the tenant "" is called for people: whose what is stored is shared.
inline constexpr const char* kSharedByAll = "(shared by all)";

// One API key and the tenant it stands for. Several keys may name one tenant.
struct ApiKey {
  std::string key;
  std::string tenant = "default";
  // May see and delete what all tenants have, and change the cache. With one tenant and no key so
  // marked, every key may.
  bool admin = false;

  friend bool operator==(const ApiKey&, const ApiKey&) = default;
};

struct Caller {
  std::string tenant;   // as it goes into keys; "" for all where answers are shared
  bool admin = false;   // may see and delete what all tenants have, and change the cache
};

// Keeps digests of the keys only.
class Tenants {
 public:
  // Throws std::invalid_argument for an empty or repeated key and an empty tenant name.
  Tenants(const std::vector<ApiKey>& keys, bool shared);

  [[nodiscard]] bool keys_required() const { return !entries_.empty(); }
  [[nodiscard]] bool several() const { return several_; }

  // From the value of an Authorization header. Nothing if keys are required and this is none of
  // them. Takes the same time for every key of the same length.
  [[nodiscard]] std::optional<Caller> identify(std::string_view authorization) const;

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
