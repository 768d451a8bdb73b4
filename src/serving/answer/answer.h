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
  std::string stop_sequence;   // engine::Finish's
  engine::Usage usage;
  std::int64_t created_unix_s = 0;

  friend bool operator==(const Answer&, const Answer&) = default;
};

// Format, little endian: magic "TCA2", whose last character is the version; u8 finish reason; stop
// sequence; i64 created; i32 prompt, completion, cached tokens; u32 number of deltas; per delta: text, u32 number
// of tokens, tokens, reasoning, u32 number of pieces of tool calls, pieces. A token: a candidate, u32
// number of alternatives, candidates. A candidate: i32 id, f32 logprob, bytes. A piece: u32 index, id,
// name, arguments. Texts and bytes: u32 number of bytes, bytes.
[[nodiscard]] std::string encode_answer(const Answer& answer);

// RETURNS nothing for bytes that are damaged, incomplete, too long, or of another version.
[[nodiscard]] std::optional<Answer> decode_answer(std::string_view bytes);

}   // namespace tensorcache::answer
