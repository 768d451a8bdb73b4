// Splits the text of a response into reasoning, content and tool calls while it is generated.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "serving/engine/engine.h"
#include "serving/llama/answer_format.h"
#include "tensorcache/key.h"

namespace tensorcache::llama {

// Not thread safe. COST of a piece: for a plain format none; else the text so far is parsed again, at most once for each 256th part of it.
class AnswerParser {
 public:
  // `prompt`: of its tokens. The same prompt gives its calls the same ids.
  AnswerParser(std::shared_ptr<const AnswerFormat> format, const Key& prompt);

  // Takes a piece of text with its log-probabilities. RETURNS what is known of the response by now and was not returned before.
  [[nodiscard]] engine::Delta push(engine::Delta piece);
  // RETURNS the rest. Text that is not in the format at all comes as content. Throws std::runtime_error if what was returned was wrong.
  [[nodiscard]] engine::Delta finish(engine::Delta piece);

  [[nodiscard]] bool has_tool_calls() const { return !calls_.empty(); }

 private:
  struct Call {
    std::string id, arguments;   // as returned so far
  };
  void parse(bool complete, engine::Delta& out);
  void add_calls(const std::vector<common_chat_tool_call>& calls, bool complete, engine::Delta& out);

  std::shared_ptr<const AnswerFormat> format_;
  Key prompt_;
  std::string text_, reasoning_, content_;   // all of it; as returned so far
  std::vector<Call> calls_;
  std::size_t parsed_bytes_ = 0, begun_bytes_ = 0;
};

}   // namespace tensorcache::llama
