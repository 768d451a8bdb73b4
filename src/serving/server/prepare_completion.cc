#include "serving/server/prepare_completion.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "serving/answer/answer_key.h"
#include "serving/protocol/parse_request.h"
#include "serving/server/elsewhere.h"

namespace tensorcache::server {
namespace {

protocol::CacheStatus::Bypass bypass_of(const ServerOptions& options, const protocol::ParsedRequest& parsed) {
  if (!options.cache_answers) return protocol::CacheStatus::Bypass::kAnswersOff;
  return parsed.request->sampling.repeatable() || options.cache_sampled ? protocol::CacheStatus::Bypass::kNone
                                                                        : protocol::CacheStatus::Bypass::kSampled;
}

// Biases of texts become biases of their tokens, of which one that the request names itself counts.
void resolve_text_biases(protocol::ParsedRequest& parsed, const engine::Engine& engine) {
  auto& biases = parsed.request->sampling.logit_bias;
  for (const auto& [text, bias] : parsed.text_biases) {
    const auto tokens = engine.tokenize_text(text, {.add_special = false, .parse_special = false});
    if (!std::holds_alternative<std::vector<std::int32_t>>(tokens)) continue;   // a text without tokens has no bias
    for (const std::int32_t token : std::get<0>(tokens)) {
      const auto at = std::lower_bound(biases.begin(), biases.end(), token, [](const auto& each, std::int32_t id) { return each.first < id; });
      if (at == biases.end() || at->first != token) biases.emplace(at, token, bias);
    }
  }
}

answer::Flights::Order make_order(const ServerOptions& options, const protocol::CacheControl& control, const protocol::ParsedRequest& parsed,
                                  const engine::Engine& engine, bool eligible) {
  const std::shared_ptr<engine::Request>& request = parsed.request;
  const bool no_store = control.no_store || parsed.no_store;
  request->use_prefix_cache = !control.no_cache;
  request->store_prefix = !no_store;
  answer::Flights::Order order;
  if (eligible) {
    order.salt = engine.answer_salt();
    order.key = answer::answer_key(*request, engine.info().answer_fingerprint, order.salt);
  }
  order.look_up = order.join = eligible && !control.no_cache;
  order.max_age = control.max_age;
  order.compute = !control.only_if_cached;
  order.store = eligible && !no_store;
  order.time_to_live = options.answer_time_to_live;
  order.context_tokens = engine.info().context_tokens;
  order.request = request;
  return order;
}

struct Preparation {
  const ServerOptions& options;
  const engine::Engine& engine;
  protocol::Format format;
  std::string tenant, cache_control, body;

  Prepared operator()() const {
    Prepared prepared;
    auto checked = protocol::parse_request(format, body, engine.info().vocab_tokens, options.unknown_fields, options.defaults);
    if (protocol::Problem* problem = std::get_if<protocol::Problem>(&checked)) {
      prepared.problem = std::move(*problem);
      return prepared;
    }
    prepared.parsed = std::get<protocol::ParsedRequest>(std::move(checked));
    const std::string& model = prepared.parsed.model;
    if (options.strict_model && !model.empty() && !engine.info().has_name(model)) {
      prepared.problem = protocol::unknown_model_problem(model, engine.info());
      prepared.parsed = {};   // a large one takes long to free, too
      return prepared;
    }
    prepared.parsed.request->tenant = tenant;
    resolve_text_biases(prepared.parsed, engine);
    prepared.control = protocol::parse_cache_control(cache_control);
    prepared.bypass = bypass_of(options, prepared.parsed);
    prepared.order = make_order(options, prepared.control, prepared.parsed, engine, prepared.eligible());
    return prepared;
  }
};

}   // namespace

Task<Prepared> prepare(Exchange& exchange, const engine::Engine* engine, protocol::Format format) {
  if (engine == nullptr) {
    Prepared loading;
    loading.problem = protocol::loading_problem();
    co_return loading;
  }
  HttpRequest& request = exchange.request;
  const bool large = request.body.size() >= kLargeBodyBytes;
  Preparation preparation{exchange.service.options, *engine, format, exchange.caller->tenant, request.cache_control, std::exchange(request.body, {})};
  if (!large) co_return preparation();
  auto waiting = elsewhere(exchange.connection, exchange.service.workers, std::move(preparation));
  co_return co_await std::move(waiting);
}

}   // namespace tensorcache::server
