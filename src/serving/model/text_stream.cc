#include "serving/model/text_stream.h"

#include <algorithm>

#include "base/core/utf8.h"

namespace tensorcache::model {
namespace {

// RETURNS the length of the longest proper prefix of `stop` that `text` ends with.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}   // namespace

engine::Delta TextStream::release(std::size_t length) {
  engine::Delta delta;
  delta.text = to_valid_utf8(std::string_view(held_).substr(0, length));
  held_.erase(0, length);
  sent_bytes_ += length;
  while (!tokens_.empty() && (tokens_.front().end <= sent_bytes_ || (stopped_ && tokens_.front().begin < sent_bytes_))) {
    delta.logprobs.push_back(std::move(tokens_.front().logprob));
    tokens_.pop_front();
  }
  return delta;
}

engine::Delta TextStream::push(std::string_view bytes, std::optional<engine::TokenLogprob> logprob) {
  const std::size_t begin = sent_bytes_ + held_.size();
  const std::size_t old_length = held_.size();
  held_ += bytes;
  if (logprob) tokens_.push_back({begin, begin + bytes.size(), std::move(*logprob)});

  std::size_t stop_at = std::string::npos;
  for (std::size_t i = 0; i < stop_.size(); ++i) {
    const std::size_t from = old_length >= stop_[i].size() ? old_length - stop_[i].size() + 1 : 0;
    const std::size_t found = held_.find(stop_[i], from);
    if (found >= stop_at) continue;
    stop_at = found;
    stopped_by_ = i;
  }
  if (stop_at != std::string::npos) {
    stopped_ = true;
    engine::Delta delta = release(stop_at);
    held_.clear();
    tokens_.clear();
    return delta;
  }
  std::size_t keep = unfinished_utf8_tail(held_);
  for (const std::string& stop : stop_) keep = std::max(keep, overlap(held_, stop));
  // A stop string may begin inside an incomplete character: never cut inside a character.
  const std::size_t length = held_.size() - keep;
  return release(length - unfinished_utf8_tail(std::string_view(held_).substr(0, length)));
}

engine::Delta TextStream::finish() { return release(held_.size()); }

}   // namespace tensorcache::model
