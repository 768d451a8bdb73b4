#include "serving/server/text_routes.h"

#include <utility>
#include <variant>

#include "base/json/json_text.h"
#include "serving/protocol/text_request.h"
#include "serving/server/elsewhere.h"
#include "serving/server/prepare_completion.h"

namespace tensorcache::server {
namespace {

// GCC 12 miscompiles some temporaries within a co_await expression, so arguments of coroutines are
// variables here.

using Body = std::variant<std::string, protocol::Problem>;

// RETURNS what `show` makes of a result of the engine.
template <class Value, class Show>
Body shown(const std::variant<Value, engine::Failure>& result, const Show& show) {
  if (const auto* failure = std::get_if<engine::Failure>(&result)) return protocol::problem_of(*failure);
  return show(std::get<0>(result));
}

// Sends what `job` returns; it runs on another thread, as a text may be long.
template <class Job>
Task<bool> send_from_elsewhere(Exchange& exchange, protocol::Format format, Job job) {
  auto waiting = elsewhere(exchange.connection, exchange.service.workers, std::move(job));
  const Body body = co_await std::move(waiting);
  Reply reply;
  if (const auto* problem = std::get_if<protocol::Problem>(&body))
    reply = problem_reply(*problem, format);
  else
    reply.body = std::get<std::string>(body);
  co_return co_await send(exchange, std::move(reply));
}

// The same with the request of a chat, which `show` gets.
template <class Show>
Task<bool> send_of_chat(Exchange& exchange, protocol::Format format, Show show) {
  const engine::Engine* engine = exchange.service.engine.load();
  Prepared prepared = co_await prepare(exchange, engine, format);
  if (prepared.problem) {
    Reply reply = problem_reply(*prepared.problem, format);
    co_return co_await send(exchange, std::move(reply));
  }
  auto job = [engine, request = prepared.parsed.request, show] { return show(*engine, *request); };
  co_return co_await send_from_elsewhere(exchange, format, std::move(job));
}

// The same with the body alone.
template <class Show>
Task<bool> send_of_body(Exchange& exchange, Show show) {
  const engine::Engine* engine = exchange.service.engine.load();
  if (!engine) {
    Reply reply = problem_reply(protocol::loading_problem());
    co_return co_await send(exchange, std::move(reply));
  }
  auto job = [engine, body = std::exchange(exchange.request.body, {}), show] { return show(*engine, body); };
  co_return co_await send_from_elsewhere(exchange, protocol::Format::kChat, std::move(job));
}

Body tokens_of(const engine::Engine& engine, const std::string& body) {
  const auto parsed = protocol::parse_tokenize(body);
  if (const auto* problem = std::get_if<protocol::Problem>(&parsed)) return *problem;
  const auto& request = std::get<protocol::TokenizeRequest>(parsed);
  return shown(engine.tokenize_text(request.content, request.options), [&](const std::vector<std::int32_t>& tokens) {
    if (!request.with_pieces) return protocol::tokens_json(tokens);
    std::vector<std::string> bytes;
    bytes.reserve(tokens.size());
    for (const std::int32_t token : tokens) bytes.push_back(engine.token_bytes(token));
    return protocol::pieces_json(tokens, bytes);
  });
}

Body text_of(const engine::Engine& engine, const std::string& body) {
  const auto parsed = protocol::parse_detokenize(body, engine.info().vocab_tokens);
  if (const auto* problem = std::get_if<protocol::Problem>(&parsed)) return *problem;
  std::string text;
  for (const std::int32_t token : std::get<0>(parsed)) text += engine.token_bytes(token);
  std::string out = "{\"content\":";
  json::append_json_string(out, text);
  return out + '}';
}

Body token_count(const engine::Engine& engine, const engine::Request& request) {
  return shown(engine.tokenize(request),
               [](const std::vector<std::int32_t>& tokens) { return "{\"input_tokens\":" + std::to_string(tokens.size()) + "}"; });
}

Body prompt_of(const engine::Engine& engine, const engine::Request& request) {
  return shown(engine.prompt_text(request), [](const std::string& prompt) {
    std::string out = "{\"prompt\":";
    json::append_json_string(out, prompt);
    return out + '}';
  });
}

}   // namespace

Task<bool> count_tokens(Exchange& exchange) { return send_of_chat(exchange, protocol::Format::kMessages, token_count); }

Task<bool> count_chat_tokens(Exchange& exchange) { return send_of_chat(exchange, protocol::Format::kChat, token_count); }

Task<bool> apply_template(Exchange& exchange) { return send_of_chat(exchange, protocol::Format::kChat, prompt_of); }

Task<bool> tokenize(Exchange& exchange) { return send_of_body(exchange, tokens_of); }

Task<bool> detokenize(Exchange& exchange) { return send_of_body(exchange, text_of); }

}   // namespace tensorcache::server
