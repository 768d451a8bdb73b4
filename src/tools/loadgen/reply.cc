#include "tools/loadgen/reply.h"

#include <boost/json.hpp>

namespace tensorcache::loadgen {
namespace {

double ms_between(ReplyReader::Clock::time_point from, ReplyReader::Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

const boost::json::object* object_in(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  return value != nullptr ? value->if_object() : nullptr;
}

std::string_view text_in(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  const boost::json::string* text = value != nullptr ? value->if_string() : nullptr;
  return text != nullptr ? std::string_view(text->data(), text->size()) : std::string_view();
}

std::uint64_t count_in(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_number()) return 0;
  boost::system::error_code failed;
  const auto number = value->to_number<std::int64_t>(failed);
  return failed || number < 0 ? 0 : static_cast<std::uint64_t>(number);
}

void read_usage(const boost::json::object& reply, Sample& sample) {
  // llama-server reports cached tokens here if not in `usage`.
  if (const boost::json::object* timings = object_in(reply, "timings")) sample.cached_tokens = count_in(*timings, "cache_n");
  const boost::json::object* usage = object_in(reply, "usage");
  if (usage == nullptr) return;
  sample.prompt_tokens = count_in(*usage, "prompt_tokens");
  sample.completion_tokens = count_in(*usage, "completion_tokens");
  if (const boost::json::object* details = object_in(*usage, "prompt_tokens_details")) sample.cached_tokens = count_in(*details, "cached_tokens");
}

void read_logprobs(const boost::json::object& choice, Sample& sample) {
  const boost::json::object* logprobs = object_in(choice, "logprobs");
  const boost::json::value* content = logprobs != nullptr ? logprobs->if_contains("content") : nullptr;
  if (content == nullptr || !content->is_array()) return;
  for (const boost::json::value& each : content->get_array()) {
    if (!each.is_object()) continue;
    const boost::json::object& token = each.get_object();
    const boost::json::value* logprob = token.if_contains("logprob");
    boost::system::error_code ignored;
    const double value = logprob != nullptr && logprob->is_number() ? logprob->to_number<double>(ignored) : 0;
    sample.logprobs.push_back({std::string(text_in(token, "token")), value});
  }
}

// RETURNS the message of OpenAI's error envelope, or "".
std::string_view error_message(const boost::json::object& reply) {
  const boost::json::object* error = object_in(reply, "error");
  return error != nullptr ? text_in(*error, "message") : std::string_view();
}

}   // namespace

void ReplyReader::piece(std::string_view text, Clock::time_point now) {
  if (text.empty()) return;
  if (sample_.ttft_ms < 0) {
    sample_.ttft_ms = ms_between(start_, now);
  } else {
    sample_.gap_ms.push_back(ms_between(last_piece_, now));
  }
  last_piece_ = now;
  sample_.text += text;
}

void ReplyReader::event(std::string_view data, Clock::time_point now) {
  if (data == "[DONE]") return;
  boost::system::error_code failed;
  const boost::json::value value = boost::json::parse({data.data(), data.size()}, failed);
  if (failed || !value.is_object()) {
    sample_.error = "the stream holds an event that is no JSON object";
    return;
  }
  const boost::json::object& reply = value.get_object();
  if (const std::string_view message = error_message(reply); !message.empty()) sample_.error = "in the stream: " + std::string(message);
  read_usage(reply, sample_);
  const boost::json::value* choices = reply.if_contains("choices");
  if (choices == nullptr || !choices->is_array() || choices->get_array().empty()) return;
  const boost::json::object* choice = choices->get_array()[0].if_object();
  if (choice == nullptr) return;
  // A complete response has `message`, a stream's chunk has `delta`.
  for (const char* name : {"delta", "message"}) {
    if (const boost::json::object* part = object_in(*choice, name)) piece(text_in(*part, "content"), now);
  }
  read_logprobs(*choice, sample_);
  if (const std::string_view reason = text_in(*choice, "finish_reason"); !reason.empty()) sample_.finish_reason = reason;
}

void ReplyReader::body(std::string_view text, Clock::time_point now) { event(text, now); }

void ReplyReader::failure(unsigned status, std::string_view text) {
  constexpr std::size_t kShown = 200;
  boost::system::error_code failed;
  const boost::json::value value = boost::json::parse({text.data(), text.size()}, failed);
  std::string_view message = !failed && value.is_object() ? error_message(value.get_object()) : std::string_view();
  if (message.empty()) message = text.substr(0, kShown);
  sample_.error = "HTTP " + std::to_string(status) + ": " + std::string(message);
}

void ReplyReader::end(Clock::time_point now) {
  sample_.total_ms = ms_between(start_, now);
  if (sample_.error.empty() && sample_.finish_reason.empty()) sample_.error = "the reply ended early";
}

}   // namespace tensorcache::loadgen
