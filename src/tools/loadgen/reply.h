// Reads the reply of an OpenAI-compatible server into a Sample.
#pragma once

#include <chrono>
#include <string_view>

#include "tools/loadgen/measure.h"

namespace tensorcache::loadgen {

class ReplyReader {
 public:
  using Clock = std::chrono::steady_clock;

  // `sample` gets what is read; `start` is when the request was sent.
  ReplyReader(Sample& sample, Clock::time_point start) : sample_(sample), start_(start), last_piece_(start) {}

  // The data of one server-sent event that arrived at `now`.
  void event(std::string_view data, Clock::time_point now);
  // A whole reply that was not streamed.
  void body(std::string_view text, Clock::time_point now);
  // The text of a reply whose status was not 200.
  void failure(unsigned status, std::string_view text);
  // After the last byte: what is missing becomes the sample's error.
  void end(Clock::time_point now);

 private:
  void piece(std::string_view text, Clock::time_point now);
  Sample& sample_;
  Clock::time_point start_, last_piece_;
};

}   // namespace tensorcache::loadgen
