#include "serving/server/session.h"

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/error.hpp>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "base/core/call_back.h"
#include "serving/server/cache_routes.h"
#include "serving/server/completion.h"
#include "serving/server/elsewhere.h"
#include "serving/protocol/origin_check.h"
#include "base/json/json_text.h"
#include "serving/protocol/openai_json.h"

namespace tensorcache::server {
namespace {

namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

constexpr std::chrono::seconds kDiskPatience{5};

enum class Read { kRequest, kClosed, kRefused };

protocol::Problem problem_of_read(const Connection& connection, boost::system::error_code error, const ServerOptions& options) {
  if (connection.expired())
    return {408, "the request was not received within " + std::to_string(options.request_timeout.count()) + " ms", "", "request_timeout", 0};
  if (error == http::error::header_limit)
    return {431, "the request's headers are larger than " + std::to_string(options.max_header_bytes) + " bytes", "", "headers_too_large", 0};
  if (error == http::error::body_limit)
    return {413, "the request's body is larger than " + std::to_string(options.max_body_bytes) + " bytes", "", "body_too_large", 0};
  return {400, "malformed HTTP request: " + error.message(), "", "malformed_request", 0};
}

bool client_left(const Connection& connection, boost::system::error_code error) {
  if (connection.expired()) return false;
  return error == http::error::end_of_stream || error == http::error::partial_message ||
         error.category() != http::make_error_code(http::error::end_of_stream).category();
}

Read outcome(const Connection& connection, boost::system::error_code error, const ServerOptions& options, protocol::Problem& problem) {
  if (!error) return Read::kRequest;
  if (client_left(connection, error)) return Read::kClosed;
  problem = problem_of_read(connection, error, options);
  return Read::kRefused;
}

// The head of a request, from its first byte within request_timeout. kRefused: `problem` says why; nothing more can be read after it.
Task<Read> read_head(Connection& connection, const Service& service, Parser& parser, std::chrono::milliseconds patience, protocol::Problem& problem) {
  const ServerOptions& options = service.options;
  auto& buffer = connection.buffer();
  if (buffer.size() == 0) {
    connection.idle = true;
    connection.expire_after(patience);
    const auto [error, count] = co_await connection.socket().async_read_some(buffer.prepare(16 << 10), kNoThrow);
    connection.idle = false;
    if (error) co_return Read::kClosed;
    buffer.commit(count);
  }
  connection.expire_after(options.request_timeout);
  parser.header_limit(options.max_header_bytes);
  parser.body_limit(options.max_body_bytes);
  const auto [error, header_bytes] = co_await http::async_read_header(connection.socket(), buffer, parser, kNoThrow);
  co_return outcome(connection, error, options, problem);
}

// The rest of it, within the same time.
Task<Read> read_body(Connection& connection, const Service& service, Parser& parser, protocol::Problem& problem) {
  if (parser.is_done()) co_return Read::kRequest;
  const auto deadline = connection.deadline();
  if (boost::beast::iequals(parser.get()[http::field::expect], "100-continue") && !co_await connection.write("HTTP/1.1 100 Continue\r\n\r\n"))
    co_return Read::kClosed;
  connection.expire_at(deadline);
  const auto [error, body_bytes] = co_await http::async_read(connection.socket(), connection.buffer(), parser, kNoThrow);
  co_return outcome(connection, error, service.options, problem);
}

void read_head_into(HttpRequest& request, const Parser& parser) {
  const auto& message = parser.get();
  request.method = message.method_string();
  request.target = message.target();
  request.host = message[http::field::host];
  request.origin = message[http::field::origin];
  request.authorization = message[http::field::authorization];
  request.request_id = message["X-Request-Id"];
  request.store_id = message["TensorCache-Store"];
  request.several_hosts = message.count(http::field::host) > 1;
  const auto [first, last] = message.equal_range(http::field::cache_control);
  for (auto field = first; field != last; ++field) {
    if (field != first) request.cache_control += ',';
    request.cache_control += std::string_view(field->value());
  }
  request.keep_alive = message.keep_alive();
  request.http_1_0 = message.version() < 11;
}

std::optional<protocol::Problem> refusal(const Exchange& exchange, const protocol::RouteMatch& match) {
  const HttpRequest& request = exchange.request;
  if (request.several_hosts) return protocol::Problem{400, "there is more than one Host header", "", "malformed_request", 0};
  if (request.host.empty() && !request.http_1_0) return protocol::Problem{400, "the Host header is missing", "", "malformed_request", 0};
  if (exchange.service.local_only) {
    if (auto problem = protocol::check_local(request.host, request.origin)) return problem;
  }
  const std::string what = std::string(request.method) + " " + std::string(request.target.substr(0, 200));
  if (match.route == protocol::Route::kNone)
    return protocol::Problem{404, "unknown path " + what + "; known paths: " + std::string(protocol::known_paths()), "", "unknown_url", 0};
  if (!match.method_allowed)
    return protocol::Problem{405, what + ": this method is not allowed, only " + std::string(match.allow), "", "method_not_allowed", 0};
  return std::nullopt;
}

protocol::Problem unknown_key(const HttpRequest& request) {
  const char* message = request.authorization.empty() ? "an API key is required: send 'Authorization: Bearer KEY'" : "invalid API key";
  return {401, message, "", "invalid_api_key", 0};
}

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

Reply models(const Service& service, const protocol::RouteMatch& match) {
  const engine::Engine* engine = service.engine.load();
  if (!engine) return problem_reply(loading_problem());
  Reply reply;
  const engine::EngineInfo& info = engine->info();
  if (match.route == protocol::Route::kModels)
    reply.body = R"({"object":"list","data":[)" + protocol::model_json(info) + "]}";
  else if (match.argument == info.model_name)
    reply.body = protocol::model_json(info);
  else
    return problem_reply(unknown_model_problem(match.argument, info));
  return reply;
}

Reply metrics_page(const Service& service, const protocol::Caller& caller) {
  if (!caller.admin) return problem_reply({403, "/metrics covers all tenants; an admin API key is required", "", "admin_required", 0});
  Reply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = service.metrics.page(service.cache.stats(), service.memory->state(), service.cache.disk_stats(), service.engine.load());
  return reply;
}

// The reply to what needs neither a body nor long, and refusals. Otherwise `caller` is who asks.
std::optional<Reply> plain_reply(Exchange& exchange, std::optional<protocol::Caller>& caller) {
  const HttpRequest& request = exchange.request;
  Service& service = exchange.service;
  const protocol::RouteMatch match = protocol::match_route(request.method, request.target);
  exchange.route = match.route;
  if (const std::optional<protocol::Problem> problem = refusal(exchange, match)) {
    Reply reply = problem_reply(*problem);
    if (problem->status == 405) reply.headers += "Allow: " + std::string(match.allow) + "\r\n";
    return reply;
  }
  if (!request.store_id.empty() && request.store_id != service.options.store_id) {   // before anybody is asked for a key
    return problem_reply({409, "this server uses another cache directory than the one in TensorCache-Store", "", "other_store", 0});
  }
  if (match.route == protocol::Route::kHealth) return health(service);
  caller = service.tenants.identify(request.authorization);
  if (!caller) return problem_reply(unknown_key(request));
  switch (match.route) {
    case protocol::Route::kChat:
    case protocol::Route::kCompletion:
    case protocol::Route::kCache:
      return std::nullopt;
    case protocol::Route::kCacheConfig:
      if (request.method == "PUT") return std::nullopt;
      return show_config(service, *caller);
    case protocol::Route::kMetrics:
      return metrics_page(service, *caller);
    default:
      return models(service, match);
  }
}

// A client's own id goes into the reply and the log as it is.
bool is_sane_id(std::string_view id) {
  constexpr std::size_t kMaxBytes = 128;
  const auto sane = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_' || c == '.';
  };
  return !id.empty() && id.size() <= kMaxBytes && std::all_of(id.begin(), id.end(), sane);
}

void tell_log(const Exchange& exchange, const std::optional<protocol::Caller>& caller) {
  constexpr int kClientLeft = 499;   // as nginx logs it
  if (!exchange.service.options.on_request) return;
  RequestRecord record = exchange.record;
  record.id = exchange.id;
  if (caller) record.tenant = caller->tenant;
  record.method = exchange.request.method;
  record.target = exchange.request.target.substr(0, exchange.request.target.find('?'));
  record.route = protocol::route_name(exchange.route);
  if (record.status == 0) record.status = kClientLeft;
  record.total_seconds = std::chrono::duration<double>(Connection::Clock::now() - exchange.received).count();
  call_back(exchange.service.options.on_request, record);
}

}   // namespace

Task<bool> send(Exchange& exchange, Reply reply) {
  exchange.service.metrics.count_reply(exchange.route, reply.status);
  exchange.record.status = reply.status;
  reply.headers += exchange.id_line;
  const Framing framing{exchange.keep_alive(), exchange.request.method == "HEAD", exchange.request.http_1_0};
  const std::string bytes = render(reply, framing);
  const bool written = co_await exchange.connection->write(bytes);
  co_return written&& framing.keep_alive;
}

// What was forgotten in memory is forgotten on disk too before the client is told; or it is told that this takes longer.
Task<void> until_forgotten(Exchange& exchange, Reply& reply) {
  struct State {
    std::atomic<bool> over{false}, written{false};
  };
  const auto state = std::make_shared<State>();
  const WakeupScope scope(exchange.connection);
  exchange.service.cache.when_flushed([wakeup = scope.wakeup(), state](bool written) {
    state->written.store(written);
    state->over.store(true);
    wakeup->wake();
  });
  Timer patience(exchange.connection->socket().get_executor(), kDiskPatience);
  patience.async_wait([connection = exchange.connection, state](boost::system::error_code error) {
    if (!error) state->over.store(true);
    Connection::wake(connection);
  });
  while (!state->over.load()) co_await exchange.connection->wait();
  patience.cancel();
  if (!state->written.load()) reply.body.insert(reply.body.size() - 1, R"(,"on_disk":"pending")");
}

// Of what walks over all that is stored, or parses a body. These take their time elsewhere.
Task<Reply> slow_reply(Exchange& exchange, const protocol::Caller& caller) {
  Service& service = exchange.service;
  const std::string method(exchange.request.method);
  const std::string query(protocol::match_route(exchange.request.method, exchange.request.target).query);
  auto job = [&service, caller, method, query, route = exchange.route, body = std::exchange(exchange.request.body, {})] {
    if (route == protocol::Route::kCacheConfig) return change_config(service, caller, body);
    return method == "DELETE" ? clear_cache(service, caller, query) : show_cache(service, caller, query);
  };
  auto waiting = elsewhere(exchange.connection, service.workers, std::move(job));
  Reply reply = co_await std::move(waiting);
  if (exchange.route == protocol::Route::kCache && method == "DELETE" && reply.status == 200) co_await until_forgotten(exchange, reply);
  co_return reply;
}

Task<void> serve(std::shared_ptr<Connection> connection, Service& service) {
  std::chrono::milliseconds patience = service.options.request_timeout;   // a new connection has to say something soon
  bool again = true;
  while (again && !service.draining) {
    Parser parser;
    protocol::Problem problem;
    Read read = co_await read_head(*connection, service, parser, patience, problem);
    if (read == Read::kClosed) break;
    HttpRequest request;
    Exchange exchange{connection, service, request};
    std::optional<protocol::Caller> caller;
    std::optional<Reply> reply;
    if (read == Read::kRequest) read_head_into(request, parser);
    exchange.id = is_sane_id(request.request_id) ? std::string(request.request_id) : protocol::random_id("req_");
    exchange.id_line = "X-Request-Id: " + exchange.id + "\r\n";
    if (read == Read::kRequest) {
      reply = plain_reply(exchange, caller);
      // A body that nobody wants, or from nobody known, is not read: what is behind it cannot be either.
      if (reply && !parser.is_done()) request.keep_alive = false;
    }
    if (read == Read::kRequest && !reply) {
      read = co_await read_body(*connection, service, parser, problem);
      if (read == Read::kClosed) {
        tell_log(exchange, caller);
        break;
      }
      request.body = std::move(parser.get().body());
      exchange.received = Connection::Clock::now();
    }
    if (read == Read::kRefused) {
      request.keep_alive = false;
      reply = problem_reply(problem);
    }
    connection->expire_never();
    if (!reply && (exchange.route == protocol::Route::kCacheConfig || exchange.route == protocol::Route::kCache)) {
      auto waiting = slow_reply(exchange, *caller);
      reply = co_await std::move(waiting);
    }
    if (reply) {
      again = co_await send(exchange, std::move(*reply));
    } else {
      again = co_await answer_completion(exchange, *caller);
    }
    tell_log(exchange, caller);
    patience = service.options.keep_alive_timeout;
  }
  if (!connection->gone() && !service.draining) co_await connection->linger_and_close();
  connection->close();
}

Task<void> refuse(std::shared_ptr<Connection> connection, Service& service) {
  service.metrics.count_refused_connection();
  const protocol::Problem problem{503, "too many connections", "", "overloaded", 1};
  const std::string bytes = render(problem_reply(problem), {false, false, false});
  if (co_await connection->write(bytes)) co_await connection->linger_and_close();
  connection->close();
}

}   // namespace tensorcache::server
