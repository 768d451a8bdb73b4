// Tests only: models of a few hundred kilobytes with random weights, which llama.cpp loads as it
// loads any other.
#pragma once

#include <string>

namespace tensorcache::testing {

enum class TinyModel {
  kAttention,       // arch llama
  kSlidingWindow,   // arch cohere2: three of four layers see kTinyWindowTokens tokens
  kRecurrent,       // arch mamba
  kNoByteTokens,    // arch llama, with a vocabulary that cannot spell every text
};

inline constexpr int kTinyWindowTokens = 128;
inline constexpr int kTinyVocabTokens = 259;   // <unk>, <s>, </s>, then the 256 bytes

// Writes the model, the same bytes each time, and returns its path in the tests' folder.
[[nodiscard]] std::string make_tiny_model(TinyModel kind);

}   // namespace tensorcache::testing
