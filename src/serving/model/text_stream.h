// Converts token bytes into text that may be sent: whole UTF-8 characters, without stop strings.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/engine.h"

namespace tensorcache::model {

// Feed tokens with push(), send what it returns; after the last token send finish(). Not thread
// safe. Cost per token: the length of the text held back times the number of stop strings.
class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stop) : stop_(std::move(stop)) {}

  // Takes one token's bytes, and its logprob if there is one. Returns what can be sent now: text
  // that no stop string can still reach into, and the logprobs of the tokens that text completes.
  // Bytes that are not UTF-8 become U+FFFD.
  [[nodiscard]] engine::Delta push(std::string_view bytes, std::optional<engine::TokenLogprob> logprob = {});

  // A stop string is complete: everything before it has been returned, and nothing more must be
  // pushed.
  [[nodiscard]] bool stopped() const { return stopped_; }

  // The rest, where no stop string came. An unfinished character becomes U+FFFD.
  [[nodiscard]] engine::Delta finish();

 private:
  struct PendingToken {
    std::size_t begin, end;   // in bytes of the whole answer
    engine::TokenLogprob logprob;
  };
  engine::Delta release(std::size_t length);

  std::vector<std::string> stop_;
  std::string held_;             // not sent yet
  std::size_t sent_bytes_ = 0;   // of the raw answer, before held_
  std::deque<PendingToken> tokens_;
  bool stopped_ = false;
};

}   // namespace tensorcache::model
