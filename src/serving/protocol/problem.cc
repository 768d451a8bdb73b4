#include "serving/protocol/problem.h"

#include <string_view>
#include <utility>

#include "base/json/json_text.h"

namespace tensorcache::protocol {
namespace {

std::string_view type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 408:
      return "timeout_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

std::string_view anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 503:
      return "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

void append_text_or_null(std::string& out, std::string_view text) {
  if (text.empty())
    out += "null";
  else
    json::append_json_string(out, text);
}

std::string anthropic_json(const Problem& problem) {
  std::string out = R"({"type":"error","error":{"type":")";
  out += anthropic_type(problem.status);
  out += "\",\"message\":";
  json::append_json_string(out, problem.message);
  out += ",\"param\":";
  append_text_or_null(out, problem.param);
  out += ",\"code\":";
  append_text_or_null(out, problem.code);
  out += "}}";
  return out;
}

}   // namespace

Problem bad_field(std::string param, std::string message, std::string code) {
  return {400, std::move(message), std::move(param), std::move(code), 0};
}

Problem problem_of(const engine::Failure& failure) {
  switch (failure.code) {
    case engine::Failure::Code::kBadRequest:
      return {400, failure.message, failure.param, "invalid_value", 0};
    case engine::Failure::Code::kContextOverflow:
      return {400, failure.message, failure.param.empty() ? "messages" : failure.param, "context_length_exceeded", 0};
    case engine::Failure::Code::kOverloaded:
      return {503, failure.message, "", "overloaded", 1};
    case engine::Failure::Code::kShuttingDown:
      return {503, failure.message, "", "shutting_down", 5};
    case engine::Failure::Code::kCancelled:
    case engine::Failure::Code::kInternal:
      break;
  }
  return {500, failure.message, "", "internal_error", 0};
}

Problem loading_problem() { return {503, "the model is still loading", "", "loading", 1}; }

Problem unknown_model_problem(std::string_view name, const engine::EngineInfo& info) {
  return {404, "the model '" + std::string(name) + "' is not served here; this server runs '" + info.model_name + "'", "model", "model_not_found", 0};
}

std::string problem_json(const Problem& problem, Format format) {
  if (format == Format::kMessages) return anthropic_json(problem);
  std::string out = "{\"error\":{\"message\":";
  json::append_json_string(out, problem.message);
  out += ",\"type\":";
  json::append_json_string(out, type_of(problem.status));
  out += ",\"param\":";
  append_text_or_null(out, problem.param);
  out += ",\"code\":";
  append_text_or_null(out, problem.code);
  out += ",\"status\":";
  json::append_json_number(out, problem.status);
  out += "}}";
  return out;
}

}   // namespace tensorcache::protocol
