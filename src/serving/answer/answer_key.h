// The key of a response: everything that can change it.
#pragma once

#include <string_view>

#include "serving/engine/engine.h"
#include "serving/engine/request.h"
#include "tensorcache/key.h"

namespace tensorcache::answer {

// `request.tenant` is part of the key; to share responses among tenants, give them all the same
// one. `salt`: Engine::answer_salt() now. Streaming and the use of prefixes are not part of the
// key.
[[nodiscard]] Key answer_key(const engine::Request& request, const Key& answer_fingerprint, std::string_view salt);

}   // namespace tensorcache::answer
