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
  bool no_cache = false;                         // compute anew, then store
  bool no_store = false;                         // keep nothing of this request; what is stored already may answer it
  bool only_if_cached = false;                   // a stored answer or 504
  std::optional<std::chrono::seconds> max_age;   // a stored answer older than that will not do
};

// Of a header's whole value, with commas between the values where the header came several times.
// Directives it does not know are ignored; a max-age that is not a number counts as 0, that is
// stale.
[[nodiscard]] CacheControl parse_cache_control(std::string_view value);

struct CacheStatus {
  enum class Forward : std::uint8_t {
    kNone,      // a hit
    kBypass,    // this request's answers are not stored: sampled, or answers are off
    kRequest,   // the request's own Cache-Control forbade what is stored
    kMiss,
  };
  // Why, of kBypass.
  enum class Bypass : std::uint8_t { kNone, kSampled, kAnswersOff };
  Forward forward = Forward::kNone;
  Bypass bypass = Bypass::kNone;
  bool collapsed = false;           // follows a computation that another request began
  std::optional<bool> stored;       // where it is known before the headers go
  std::int32_t prefix_tokens = 0;   // of the prompt, not computed
  engine::Fidelity fidelity = engine::Fidelity::kComputed;
};

// For example `TensorCache; hit; detail=answer`, `TensorCache; fwd=miss; detail=miss; stored` or
// `TensorCache; fwd=miss; detail="prefix; tokens=960; fidelity=kv"` or `TensorCache; fwd=bypass;
// detail="sampled: set temperature=0 or seed"`.
[[nodiscard]] std::string cache_status_text(const CacheStatus& status);

}   // namespace tensorcache::protocol
