#include "serving/protocol/tenants.h"

#include <algorithm>
#include <set>

#include "base/core/field_error.h"

namespace tensorcache::protocol {
namespace {

std::string_view bearer(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return {};
  for (std::size_t i = 0; i < kScheme.size(); ++i)
    if ((authorization[i] | 0x20) != kScheme[i]) return {};
  authorization.remove_prefix(kScheme.size());
  const std::size_t first = authorization.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return authorization.substr(first, authorization.find_last_not_of(' ') - first + 1);
}

bool equal_in_constant_time(const Key& a, const Key& b) {
  unsigned different = 0;
  for (std::size_t i = 0; i < a.bytes.size(); ++i) different |= static_cast<unsigned>(a.bytes[i] ^ b.bytes[i]);
  return different == 0;
}

}   // namespace

Tenants::Tenants(const std::vector<ApiKey>& keys, bool shared) : everybody_{shared ? "" : "default", true} {
  std::set<std::string> names;
  std::set<Key> digests;
  bool marked = false;
  for (const ApiKey& key : keys) {
    if (key.key.empty()) throw FieldError("api_keys", "a key is empty");
    if (key.tenant.empty()) throw FieldError("api_keys", "a key has no tenant name");
    const Key digest = Key::of(key.key);
    if (!digests.insert(digest).second) throw FieldError("api_keys", "the same key is given twice (tenant " + key.tenant + ")");
    names.insert(key.tenant);
    entries_.push_back({digest, {shared ? "" : key.tenant, key.admin}});
    marked = marked || key.admin;
  }
  several_ = names.size() > 1;
  if (several_ || marked) return;
  for (Entry& entry : entries_) entry.caller.admin = true;   // a single tenant: there is nothing to hide
}

std::optional<Caller> Tenants::identify(std::string_view authorization, std::string_view api_key) const {
  if (entries_.empty()) return everybody_;
  const Key digest = Key::of(authorization.empty() ? api_key : bearer(authorization));
  const Caller* found = nullptr;
  for (const Entry& entry : entries_)
    if (equal_in_constant_time(entry.digest, digest)) found = &entry.caller;
  return found ? std::optional(*found) : std::nullopt;
}

}   // namespace tensorcache::protocol
