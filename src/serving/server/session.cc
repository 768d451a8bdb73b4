#include "serving/server/session.h"

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/error.hpp>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/core/call_back.h"
#include "serving/protocol/openai_json.h"
#include "serving/protocol/origin_check.h"
#include "serving/server/exchange.h"
#include "serving/server/routes.h"

namespace tensorcache::server {
namespace {

namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

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

// Reads the head of a request within request_timeout of its first byte. kRefused: `problem` has the
// reason, and the connection cannot be read further.
Task<Read> read_head(Connection& connection, const Service& service, Parser& parser, std::chrono::milliseconds timeout, protocol::Problem& problem) {
  const ServerOptions& options = service.options;
  auto& buffer = connection.buffer();
  if (buffer.size() == 0) {
    connection.idle = true;
    connection.expire_after(timeout);
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

// Reads the rest of the request within the same time.
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
  request.api_key = message["X-Api-Key"];   // as Anthropic's clients send it
  request.request_id = message["X-Request-Id"];
  request.store_id = message["TensorCache-Store"];
  request.preflight = request.method == "OPTIONS" && message.count("Access-Control-Request-Method") > 0;
  request.preflight_headers = message["Access-Control-Request-Headers"];
  request.several_hosts = message.count(http::field::host) > 1;
  const auto [first, last] = message.equal_range(http::field::cache_control);
  for (auto field = first; field != last; ++field) {
    if (field != first) request.cache_control += ',';
    request.cache_control += std::string_view(field->value());
  }
  request.keep_alive = message.keep_alive();
  request.http_1_0 = message.version() < 11;
}

// RETURNS the problem of a request that no handler can serve.
std::optional<protocol::Problem> misfit(const Exchange& exchange) {
  const HttpRequest& request = exchange.request;
  const protocol::RouteMatch& match = exchange.match;
  if (request.several_hosts) return protocol::Problem{400, "there is more than one Host header", "", "malformed_request", 0};
  if (request.host.empty() && !request.http_1_0) return protocol::Problem{400, "the Host header is missing", "", "malformed_request", 0};
  if (exchange.service.local_only) {
    if (auto problem = protocol::check_local(request.host, request.origin, exchange.service.options.cors_origins)) return problem;
  }
  const std::string what = std::string(request.method) + " " + std::string(request.target.substr(0, 200));
  if (match.route == protocol::Route::kNone)
    return protocol::Problem{404, "unknown path " + what + "; known paths: " + std::string(protocol::known_paths()), "", "unknown_url", 0};
  if (!match.method_allowed)
    return protocol::Problem{405, what + ": this method is not allowed, only " + std::string(match.allow), "", "method_not_allowed", 0};
  return std::nullopt;
}

protocol::Problem unknown_key(const HttpRequest& request) {
  const char* message =
      request.authorization.empty() && request.api_key.empty() ? "an API key is required: send 'Authorization: Bearer KEY'" : "invalid API key";
  return {401, message, "", "invalid_api_key", 0};
}

// A browser asks before it sends a page's request, without the page's API key.
Reply preflight_reply(const Exchange& exchange) {
  Reply reply;
  reply.status = 200;
  reply.headers = protocol::preflight_lines(exchange.match.allow, exchange.request.preflight_headers);
  return reply;
}

// Finds the handler and the caller. RETURNS a reply if the request goes to no handler.
std::optional<Reply> refusal(Exchange& exchange, const Handler** handler) {
  const HttpRequest& request = exchange.request;
  const Service& service = exchange.service;
  exchange.match = protocol::match_route(request.method, request.target);
  if (request.preflight) exchange.match.method_allowed = true;
  if (const std::optional<protocol::Problem> problem = misfit(exchange)) {
    Reply reply = problem_reply(*problem, format_of(exchange.match.route));
    if (problem->status == 405) reply.headers += "Allow: " + std::string(exchange.match.allow) + "\r\n";
    return reply;
  }
  if (request.preflight) return preflight_reply(exchange);
  if (!request.store_id.empty() && request.store_id != service.options.store_id) {   // checked before the API key
    return problem_reply({409, "this server uses another cache directory than the one in TensorCache-Store", "", "other_store", 0});
  }
  *handler = find_handler(exchange.match.route, request.method);
  if ((*handler)->open) return std::nullopt;
  exchange.caller = service.tenants.identify(request.authorization, request.api_key);
  if (!exchange.caller) return problem_reply(unknown_key(request), format_of(exchange.match.route));
  return std::nullopt;
}

// RETURNS true if a client's own id may be used in the reply and the log.
bool is_sane_id(std::string_view id) {
  constexpr std::size_t kMaxBytes = 128;
  const auto sane = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_' || c == '.';
  };
  return !id.empty() && id.size() <= kMaxBytes && std::all_of(id.begin(), id.end(), sane);
}

void tell_log(const Exchange& exchange) {
  constexpr int kClientLeft = 499;   // as logged by nginx
  if (!exchange.service.options.on_request) return;
  RequestRecord record = exchange.record;
  record.id = exchange.id;
  if (exchange.caller) record.tenant = exchange.caller->tenant;
  record.method = exchange.request.method;
  record.target = exchange.request.target.substr(0, exchange.request.target.find('?'));
  record.route = protocol::route_name(exchange.match.route);
  if (record.status == 0) record.status = kClientLeft;
  record.total_seconds = std::chrono::duration<double>(Connection::Clock::now() - exchange.received).count();
  call_back(exchange.service.options.on_request, record);
}

// Reads and answers one request. RETURNS false if the connection must be closed.
Task<bool> serve_one(const std::shared_ptr<Connection>& connection, Service& service, std::chrono::milliseconds timeout) {
  Parser parser;
  protocol::Problem problem;
  Read read = co_await read_head(*connection, service, parser, timeout, problem);
  if (read == Read::kClosed) co_return false;
  HttpRequest request;
  Exchange exchange{connection, service, request};
  if (read == Read::kRequest) read_head_into(request, parser);
  exchange.id = is_sane_id(request.request_id) ? std::string(request.request_id) : protocol::random_id("req_");
  exchange.common_lines = "X-Request-Id: " + exchange.id + "\r\n";
  if (!request.origin.empty() && protocol::allows_origin(request.origin, service.options.cors_origins)) {
    exchange.common_lines += protocol::origin_lines(request.origin);
  }
  const Handler* handler = nullptr;
  std::optional<Reply> refused;
  if (read == Read::kRequest) refused = refusal(exchange, &handler);
  if (read == Read::kRequest && !refused && handler->reads_body) {
    read = co_await read_body(*connection, service, parser, problem);
    if (read == Read::kClosed) {
      tell_log(exchange);
      co_return false;
    }
    request.body = std::move(parser.get().body());
    exchange.received = Connection::Clock::now();
  } else if (read == Read::kRequest && !parser.is_done()) {
    request.keep_alive = false;   // the body was not read, so nothing after it can be
  }
  if (read == Read::kRefused) {
    request.keep_alive = false;
    refused = problem_reply(problem, format_of(exchange.match.route));
  }
  connection->expire_never();
  bool again = false;
  if (refused) {
    again = co_await send(exchange, std::move(*refused));
  } else {
    again = co_await handler->handle(exchange);
  }
  tell_log(exchange);
  co_return again;
}

}   // namespace

Task<void> serve(std::shared_ptr<Connection> connection, Service& service) {
  std::chrono::milliseconds timeout = service.options.request_timeout;   // a new connection must send a request soon
  bool again = true;
  while (again && !service.draining) {
    again = co_await serve_one(connection, service, timeout);
    timeout = service.options.keep_alive_timeout;
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
