#include "serving/server/status_routes.h"

#include <utility>

#include "base/json/json_text.h"
#include "serving/protocol/json_members.h"
#include "serving/protocol/native_json.h"
#include "serving/protocol/openai_json.h"

namespace tensorcache::server {
namespace {

Reply health(const Service& service) {
  Reply reply;
  const engine::Engine* engine = service.engine.load();
  if (!engine) {
    reply.status = 503;
    reply.headers = "Retry-After: 1\r\n";
    reply.body = R"({"status":"loading"})";
    return reply;
  }
  reply.body = R"({"status":"ok","model":)";
  json::append_json_string(reply.body, engine->info().model_name);
  if (const DiskStats disk = service.cache.disk_stats(); !disk.directory.empty()) {
    reply.body += disk.degraded ? R"(,"disk":"degraded")" : disk.ready ? R"(,"disk":"ok")" : R"(,"disk":"loading")";
  }
  reply.body += '}';
  return reply;
}

Reply models(const Service& service) {
  const engine::Engine* engine = service.engine.load();
  if (!engine) return problem_reply(protocol::loading_problem());
  Reply reply;
  reply.body = R"({"object":"list","data":[)" + protocol::model_json(engine->info()) + "]}";
  return reply;
}

Reply model(const Service& service, const std::string& name) {
  const engine::Engine* engine = service.engine.load();
  if (!engine) return problem_reply(protocol::loading_problem());
  if (!engine->info().has_name(name)) return problem_reply(protocol::unknown_model_problem(name, engine->info()));
  Reply reply;
  reply.body = protocol::model_json(engine->info());
  return reply;
}

engine::Request default_request(const protocol::RequestDefaults& defaults) {
  engine::Request request;
  request.sampling = defaults.sampling;
  request.max_tokens = defaults.max_tokens;
  return request;
}

Reply props(const Service& service) {
  const engine::Engine* engine = service.engine.load();
  if (!engine) return problem_reply(protocol::loading_problem());
  const engine::EngineInfo& info = engine->info();
  Reply reply;
  std::string& out = reply.body;
  out = R"({"default_generation_settings":{"id":0,"n_ctx":)";
  json::append_json_number(out, info.context_tokens);
  out += ",\"params\":" + protocol::generation_settings_json(default_request(service.options.defaults)) + "}";
  protocol::append_number(out, "total_slots", info.slots);
  protocol::append_text(out, "model_alias", info.model_name);
  protocol::append_text(out, "model_path", info.model_path);
  protocol::append_text(out, "chat_template", info.chat_template);
  protocol::append_text(out, "bos_token", info.bos_token);
  protocol::append_text(out, "eos_token", info.eos_token);
  protocol::append_text(out, "build_info", protocol::fingerprint_text(info.answer_fingerprint));
  out += R"(,"modalities":{"vision":false,"audio":false}})";
  return reply;
}

// Which slot is busy is not told apart: the first ones are shown so.
Reply slots(const Service& service, const protocol::Caller& caller) {
  if (!caller.admin) return problem_reply({403, "/slots shows the requests of all tenants; an admin API key is required", "", "admin_required", 0});
  const engine::Engine* engine = service.engine.load();
  if (!engine) return problem_reply(protocol::loading_problem());
  const std::int32_t running = engine->stats().running;
  Reply reply;
  reply.body = "[";
  for (std::int32_t i = 0; i < engine->info().slots; ++i) {
    reply.body += i > 0 ? ",{\"id\":" : "{\"id\":";
    json::append_json_number(reply.body, i);
    protocol::append_number(reply.body, "n_ctx", engine->info().context_tokens);
    reply.body += i < running ? ",\"is_processing\":true}" : ",\"is_processing\":false}";
  }
  reply.body += ']';
  return reply;
}

Reply metrics_page(const Service& service, const protocol::Caller& caller) {
  if (!caller.admin) return problem_reply({403, "/metrics covers all tenants; an admin API key is required", "", "admin_required", 0});
  Reply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = service.metrics.page(service.cache.stats(), service.memory->state(), service.cache.disk_stats(), service.engine.load());
  return reply;
}

}   // namespace

Task<bool> show_health(Exchange& exchange) {
  Reply reply = health(exchange.service);
  co_return co_await send(exchange, std::move(reply));
}

Task<bool> list_models(Exchange& exchange) {
  Reply reply = models(exchange.service);
  co_return co_await send(exchange, std::move(reply));
}

Task<bool> show_model(Exchange& exchange) {
  Reply reply = model(exchange.service, exchange.match.argument);
  co_return co_await send(exchange, std::move(reply));
}

Task<bool> show_props(Exchange& exchange) {
  Reply reply = props(exchange.service);
  co_return co_await send(exchange, std::move(reply));
}

Task<bool> show_slots(Exchange& exchange) {
  Reply reply = slots(exchange.service, *exchange.caller);
  co_return co_await send(exchange, std::move(reply));
}

Task<bool> show_metrics(Exchange& exchange) {
  Reply reply = metrics_page(exchange.service, *exchange.caller);
  co_return co_await send(exchange, std::move(reply));
}

}   // namespace tensorcache::server
