// Reads the reply of an OpenAI-compatible server into a Sample.
#pragma once

#include <chrono>
#include <string_view>

#include "tools/loadgen/measure.h"

namespace tensorcache::loadgen {

class ReplyReader {
 public:
  using Clock = std::chrono::steady_clock;

  // `sample` receives the result; `start`: when the request was sent.
  ReplyReader(Sample& sample, Clock::time_point start) : sample_(sample), start_(start), last_piece_(start) {}

  // Reads the data of one server-sent event that arrived at `now`.
  void event(std::string_view data, Clock::time_point now);
  // Reads a response that is not streamed.
  void body(std::string_view text, Clock::time_point now);
  // Reads the body of a response with a status other than 200.
  void failure(unsigned status, std::string_view text);
  // Called after the last byte: an incomplete response becomes the sample's error.
  void end(Clock::time_point now);

 private:
  void piece(std::string_view text, Clock::time_point now);
  Sample& sample_;
  Clock::time_point start_, last_piece_;
};

}   // namespace tensorcache::loadgen
