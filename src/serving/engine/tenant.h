// A tenant's place in the cache.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "tensorcache/key.h"

namespace tensorcache::engine {

// Groups a tenant's entries in the cache (PutOptions::owner).
[[nodiscard]] inline std::uint64_t tenant_owner(std::string_view tenant) { return static_cast<std::uint64_t>(std::hash<Key>{}(Key::of(tenant))); }

}   // namespace tensorcache::engine
