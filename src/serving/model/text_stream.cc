#include "serving/model/text_stream.h"

#include <algorithm>

namespace tensorcache::model {
namespace {

// The length of the well-formed character at the front; 0 if there is none. `*need` is the length
// its first byte asks for and `*good` how many bytes fit that so far (Unicode 15, table 3-7).
std::size_t character_length(std::string_view s, std::size_t* need, std::size_t* good) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = at(0);
  unsigned char low = 0x80, high = 0xBF;
  *good = 1;
  if (first < 0x80) return *need = 1;
  if (first >= 0xC2 && first <= 0xDF)
    *need = 2;
  else if (first >= 0xE0 && first <= 0xEF)
    *need = 3;
  else if (first >= 0xF0 && first <= 0xF4)
    *need = 4;
  else
    return *need = 0;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  for (; *good < *need; ++*good) {
    if (*good >= s.size() || at(*good) < low || at(*good) > high) return 0;
    low = 0x80;
    high = 0xBF;
  }
  return *need;
}

// The longest proper prefix of `stop` that `text` ends in.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}   // namespace

std::string to_valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    std::size_t need = 0, good = 0;
    if (const std::size_t n = character_length(bytes, &need, &good); n > 0) {
      text += bytes.substr(0, n);
      bytes.remove_prefix(n);
    } else {
      text += "\xEF\xBF\xBD";
      bytes.remove_prefix(std::min(good, bytes.size()));
    }
  }
  return text;
}

std::size_t unfinished_utf8_tail(std::string_view bytes) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, bytes.size()); ++n) {
    const std::string_view tail = bytes.substr(bytes.size() - n);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) continue;   // inside a character
    std::size_t need = 0, good = 0;
    return character_length(tail, &need, &good) == 0 && need > n && good == n ? n : 0;
  }
  return 0;
}

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
  for (const std::string& stop : stop_) {
    const std::size_t from = old_length >= stop.size() ? old_length - stop.size() + 1 : 0;
    stop_at = std::min(stop_at, held_.find(stop, from));
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
  // A stop string may begin after an unfinished character's first byte: never cut inside a
  // character either way.
  const std::size_t length = held_.size() - keep;
  return release(length - unfinished_utf8_tail(std::string_view(held_).substr(0, length)));
}

engine::Delta TextStream::finish() { return release(held_.size()); }

}   // namespace tensorcache::model
