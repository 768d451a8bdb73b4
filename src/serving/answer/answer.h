// The stored form of a finished response.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"

namespace tensorcache::answer {

struct Answer {
  std::vector<engine::Delta> deltas;   // as they were first streamed
  engine::FinishReason reason = engine::FinishReason::kStop;
  engine::Usage usage;
  std::int64_t created_unix_s = 0;

  friend bool operator==(const Answer&, const Answer&) = default;
};

// Little endian: magic "TCA1"; u8 finish reason; i64 created; i32 prompt, completion, cached tokens; u32 count of deltas; per delta:
// u32 text bytes, text, u32 count of tokens; per token: a candidate, u32 count of alternatives, candidates. A candidate is i32 id,
// f32 logprob, u32 bytes, bytes. The magic's last character is the version.
[[nodiscard]] std::string encode_answer(const Answer& answer);

// Nothing for bytes that encode_answer did not write whole: damaged, cut, longer, or of another version.
[[nodiscard]] std::optional<Answer> decode_answer(std::string_view bytes);

}   // namespace tensorcache::answer
