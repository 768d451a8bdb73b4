// Parses the request header Cache-Control (RFC 9111) and writes Cache-Status (RFC 9211).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "serving/engine/engine.h"

namespace tensorcache::protocol {

struct CacheControl {
  bool no_cache = false;                         // compute, then store
  bool no_store = false;                         // store nothing of this request; a stored response may be served
  bool only_if_cached = false;                   // serve a stored response, or 504
  std::optional<std::chrono::seconds> max_age;   // maximum age of a stored response
};

// Parses the header's value; several headers are joined by commas. Unknown directives are ignored;
// an invalid max-age counts as 0 (stale).
[[nodiscard]] CacheControl parse_cache_control(std::string_view value);

struct CacheStatus {
  enum class Forward : std::uint8_t {
    kNone,      // a hit
    kBypass,    // responses to this request are not stored: sampled, or the response cache is off
    kRequest,   // the request's Cache-Control excluded the stored response
    kMiss,
  };
  // The reason of kBypass.
  enum class Bypass : std::uint8_t { kNone, kSampled, kAnswersOff };
  Forward forward = Forward::kNone;
  Bypass bypass = Bypass::kNone;
  bool collapsed = false;           // joined a computation that another request started
  std::optional<bool> stored;       // if known before the headers are sent
  std::int32_t prefix_tokens = 0;   // tokens of the prompt restored from the cache
  engine::Fidelity fidelity = engine::Fidelity::kComputed;
};

// RETURNS, for example, `TensorCache; hit; detail=answer`, `TensorCache; fwd=miss; detail=miss;
// stored`, `TensorCache; fwd=miss; detail="prefix; tokens=960; fidelity=kv"` or `TensorCache;
// fwd=bypass; detail="sampled: set temperature=0 or seed"`.
[[nodiscard]] std::string cache_status_text(const CacheStatus& status);

}   // namespace tensorcache::protocol
