// The stored form of a complete response.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"

namespace tensorcache::answer {

struct Answer {
  std::vector<engine::Delta> deltas;   // as first streamed
  engine::FinishReason reason = engine::FinishReason::kStop;
  engine::Usage usage;
  std::int64_t created_unix_s = 0;

  friend bool operator==(const Answer&, const Answer&) = default;
};

// Format, little endian: magic "TCA1", whose last character is the version; u8 finish reason; i64
// created; i32 prompt, completion, cached tokens; u32 number of deltas; per delta: u32 text bytes,
// text, u32 number of tokens; per token: a candidate, u32 number of alternatives, candidates. A
// candidate is i32 id, f32 logprob, u32 bytes, bytes.
[[nodiscard]] std::string encode_answer(const Answer& answer);

// RETURNS nothing for bytes that are damaged, incomplete, too long, or of another version.
[[nodiscard]] std::optional<Answer> decode_answer(std::string_view bytes);

}   // namespace tensorcache::answer
