// The key of a response: everything that can change it.
#pragma once

#include <string_view>

#include "serving/engine/engine.h"
#include "serving/engine/request.h"
#include "tensorcache/key.h"

namespace tensorcache::answer {

// `request.tenant` is part of the key: whoever shares answers among tenants gives them all the same one. `salt` is
// Engine::answer_salt() at this moment. How the answer is sent (streamed or not) and the use of prefixes are not part of it.
[[nodiscard]] Key answer_key(const engine::Request& request, const Key& answer_fingerprint, std::string_view salt);

}   // namespace tensorcache::answer
