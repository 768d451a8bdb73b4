// Converts token bytes into text that can be sent: whole UTF-8 characters, without stop strings.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"

namespace tensorcache::model {

// Pass tokens to push() and send what it returns; after the last token send finish(). Not thread
// safe. COST per token: length of the held-back text times the number of stop strings.
class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  // Adds one token's bytes, and its logprob if given. RETURNS the text that can be sent now, which
  // no stop string can include any more, and the logprobs of its tokens. Ill-formed UTF-8 becomes
  // U+FFFD.
  [[nodiscard]] engine::Delta push(std::string_view bytes, std::optional<engine::TokenLogprob> logprob = {});

  // RETURNS true once a stop string is complete: the text before it was returned, and no further
  // token may be pushed.
  [[nodiscard]] bool stopped() const { return stopped_; }
  // The number of that stop string, once stopped.
  [[nodiscard]] std::size_t stopped_by() const { return stopped_by_; }

  // RETURNS the rest if no stop string came. An incomplete character becomes U+FFFD.
  [[nodiscard]] engine::Delta finish();

 private:
  struct PendingToken {
    std::size_t begin, end;   // byte offsets in the whole response
    engine::TokenLogprob logprob;
  };
  engine::Delta release(std::size_t length);

  std::vector<std::string> stop_;
  std::string held_;             // not sent yet
  std::size_t sent_bytes_ = 0;   // of the raw response, before held_
  std::deque<PendingToken> tokens_;
  bool stopped_ = false;
  std::size_t stopped_by_ = 0;
};

}   // namespace tensorcache::model
