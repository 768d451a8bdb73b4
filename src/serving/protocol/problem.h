// Errors as sent to clients: OpenAI's error envelope.
#pragma once

#include <string>
#include <string_view>

#include "serving/engine/engine.h"
#include "serving/protocol/format.h"

namespace tensorcache::protocol {

struct Problem {
  int status = 500;
  std::string message;     // for users: the error, and what to do
  std::string param;       // the field; may be empty
  std::string code;        // for programs; may be empty
  int retry_after_s = 0;   // 0: no Retry-After header
};

// RETURNS a 400 for a field.
[[nodiscard]] Problem bad_field(std::string param, std::string message, std::string code = "invalid_value");
[[nodiscard]] Problem problem_of(const engine::Failure& failure);
[[nodiscard]] Problem loading_problem();
[[nodiscard]] Problem unknown_model_problem(std::string_view name, const engine::EngineInfo& info);

// RETURNS {"error":{"message","type","param","code","status"}}; the status determines `type`. For Anthropic's protocol its own form,
// {"type":"error","error":{"type","message","param","code"}}.
[[nodiscard]] std::string problem_json(const Problem& problem, Format format = Format::kChat);

}   // namespace tensorcache::protocol
