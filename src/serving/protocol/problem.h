// Errors as sent to clients: OpenAI's error envelope.
#pragma once

#include <string>
#include <string_view>

#include "serving/engine/engine.h"

namespace tensorcache::protocol {

struct Problem {
  int status = 500;
  std::string message;     // for people: what is wrong and what would be right
  std::string param;       // the field, or empty
  std::string code;        // for programs, or empty
  int retry_after_s = 0;   // 0: no such header
};

// 400 about a field.
[[nodiscard]] Problem bad_field(std::string param, std::string message, std::string code = "invalid_value");
[[nodiscard]] Problem problem_of(const engine::Failure& failure);
[[nodiscard]] Problem loading_problem();
[[nodiscard]] Problem unknown_model_problem(std::string_view name, const engine::EngineInfo& info);

// {"error":{"message","type","param","code","status"}}; type follows from the status.
[[nodiscard]] std::string problem_json(const Problem& problem);

}   // namespace tensorcache::protocol
