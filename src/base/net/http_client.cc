#include "base/net/http_client.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http.hpp>

#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/net/connection.h"

namespace tensorcache::net {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

Error invalid(std::string text) { return {ErrorKind::kInvalid, std::move(text)}; }

bool is_token(std::string_view text) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  const auto fits = [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || kOthers.find(c) != std::string_view::npos;
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), fits);
}

// Visible ASCII characters, and bytes beyond ASCII.
bool is_target(std::string_view text) {
  const auto fits = [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7F; };
  return text.starts_with('/') && std::all_of(text.begin(), text.end(), fits);
}

bool is_field_value(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

Result<WireRequest, Error> wire_request(const Url& url, const ClientOptions& options, const Request& request) {
  if (!is_token(request.method)) return Failure(invalid("'" + request.method + "' is not an HTTP method"));
  if (!is_target(request.target)) return Failure(invalid("the target '" + request.target + "' must begin with '/' and contain no spaces"));
  WireRequest made;
  made.version(11);
  made.method_string(request.method);
  made.target(url.path + request.target);
  made.set(http::field::host, url.authority());
  made.set(http::field::user_agent, options.user_agent);
  for (const Headers* headers : {&options.headers, &request.headers}) {
    for (const auto& [name, value] : *headers) {
      if (!is_token(name) || !is_field_value(value)) return Failure(invalid("the header '" + name + "' cannot be sent"));
      made.set(name, value);
    }
  }
  made.body() = request.body;
  made.prepare_payload();
  return made;
}

Error not_found(const std::string& host, const std::string& why) { return {ErrorKind::kResolve, "cannot find the host " + host + ": " + why}; }

Endpoints endpoints_of(const tcp::resolver::results_type& results) {
  Endpoints endpoints;
  for (const auto& entry : results) endpoints.push_back(entry.endpoint());
  return endpoints;
}

// A name lookup cannot be cancelled: one that outlives its caller ends by itself.
struct Lookup {
  explicit Lookup(const asio::any_io_executor& executor) : resolver(executor), timer(executor) {}
  tcp::resolver resolver;
  asio::steady_timer timer;
  bool done = false;
  error_code error;
  Endpoints endpoints;
};

asio::awaitable<Result<Endpoints, Error>> look_up(const asio::any_io_executor& executor, const Url& url, const Deadlines& deadlines) {
  const auto lookup = std::make_shared<Lookup>(executor);
  lookup->timer.expires_at(deadlines.of(deadlines.timeouts.connect));
  lookup->resolver.async_resolve(url.host, url.port, [lookup](const error_code& error, const tcp::resolver::results_type& results) {
    lookup->error = error;
    lookup->endpoints = endpoints_of(results);
    lookup->done = true;
    lookup->timer.cancel();
  });
  auto [woken] = co_await lookup->timer.async_wait(kTuple);
  if (!lookup->done) {
    lookup->resolver.cancel();
    if (woken) co_return Failure(Error{ErrorKind::kCancelled, "cancelled"});
    co_return Failure(Error{ErrorKind::kTimeout, "cannot find the host " + url.host + ": timed out"});
  }
  if (lookup->error) co_return Failure(not_found(url.host, lookup->error.message()));
  co_return std::move(lookup->endpoints);
}

}   // namespace

struct HttpClient::Impl {
  asio::any_io_executor executor;
  Url url;
  ClientOptions options;
  std::optional<asio::ssl::context> tls;
  Endpoints endpoints;                             // empty: not resolved yet, or no address answered
  std::vector<std::unique_ptr<Connection>> idle;   // the most recently used one is last

  std::unique_ptr<Connection> take_idle() {
    while (!idle.empty()) {
      std::unique_ptr<Connection> connection = std::move(idle.back());
      idle.pop_back();
      if (Clock::now() - connection->idle_since < options.idle_timeout && !connection->is_stale()) return connection;
    }
    return nullptr;
  }

  void keep(std::unique_ptr<Connection> connection) {
    if (!connection->is_reusable() || options.max_idle == 0) return;
    if (idle.size() >= options.max_idle) idle.erase(idle.begin());
    connection->idle_since = Clock::now();
    idle.push_back(std::move(connection));
  }

  asio::awaitable<Result<std::unique_ptr<Connection>, Error>> connect(const Deadlines& deadlines) {
    if (endpoints.empty()) {
      auto found = co_await look_up(executor, url, deadlines);
      if (!found) co_return Failure(found.error());
      endpoints = *std::move(found);
    }
    const Endpoints known = endpoints;   // a copy: another call may clear it meanwhile
    auto connection = std::make_unique<Connection>(executor, tls ? &*tls : nullptr);
    std::optional<Error> error = co_await connection->open(url, known, deadlines);
    if (!error) co_return std::move(connection);
    if (error->kind == ErrorKind::kConnect || error->kind == ErrorKind::kTimeout) endpoints.clear();
    co_return Failure(*std::move(error));
  }

  asio::awaitable<Result<Response, Error>> send(const Request& request, const BodySink& sink);
};

HttpClient::HttpClient(asio::any_io_executor executor, Url url, ClientOptions options)
    : impl_(new Impl{std::move(executor), std::move(url), std::move(options), {}, {}, {}}) {
  error_code no_address;
  const asio::ip::address address = asio::ip::make_address(impl_->url.host, no_address);
  if (!no_address) impl_->endpoints = {tcp::endpoint(address, static_cast<std::uint16_t>(std::stoi(impl_->url.port)))};
  if (!impl_->url.tls) return;
  asio::ssl::context& tls = impl_->tls.emplace(asio::ssl::context::tls_client);
  tls.set_verify_mode(asio::ssl::verify_peer);
  if (impl_->options.ca_file.empty()) {
    tls.set_default_verify_paths();
    return;
  }
  error_code unreadable;
  tls.load_verify_file(impl_->options.ca_file, unreadable);
  if (unreadable) throw std::runtime_error(impl_->options.ca_file + ": cannot read certificates: " + unreadable.message());
}

HttpClient::~HttpClient() = default;

const Url& HttpClient::url() const { return impl_->url; }
std::size_t HttpClient::idle_connections() const { return impl_->idle.size(); }

Result<void, Error> HttpClient::resolve() {
  if (!impl_->endpoints.empty()) return {};
  error_code error;
  tcp::resolver resolver(impl_->executor);
  impl_->endpoints = endpoints_of(resolver.resolve(impl_->url.host, impl_->url.port, error));
  if (error) return Failure(not_found(impl_->url.host, error.message()));
  return {};
}

asio::awaitable<Result<Response, Error>> HttpClient::send(const Request& request) {
  static const BodySink kNone;
  return send(request, kNone);
}

asio::awaitable<Result<Response, Error>> HttpClient::send(const Request& request, const BodySink& sink) {
  try {
    co_return co_await impl_->send(request, sink);
  } catch (const boost::system::system_error& error) {   // a cancellation that came between two operations
    if (error.code() != asio::error::operation_aborted) throw;
    co_return Failure(Error{ErrorKind::kCancelled, "cancelled"});
  }
}

asio::awaitable<Result<Response, Error>> HttpClient::Impl::send(const Request& request, const BodySink& sink) {
  const Deadlines deadlines(request.timeouts.value_or(options.timeouts));
  const Result<WireRequest, Error> message = wire_request(url, options, request);
  if (!message) co_return Failure(message.error());
  std::unique_ptr<Connection> connection = take_idle();
  while (true) {
    Response response;
    response.reused = connection != nullptr;
    if (!connection) {
      auto opened = co_await connect(deadlines);
      if (!opened) co_return Failure(std::move(opened.error()));
      connection = *std::move(opened);
    }
    Progress progress;
    std::optional<Error> error = co_await connection->exchange(*message, deadlines, options.max_body_bytes, sink, response, progress);
    if (!error) {
      keep(std::move(connection));
      co_return response;
    }
    const bool once_more = response.reused && error->kind == ErrorKind::kClosed && !progress.answered && (!progress.sent || request.may_repeat());
    if (!once_more) co_return Failure(*std::move(error));
    connection.reset();
  }
}

namespace {

asio::awaitable<void> send_to(HttpClient& client, const Request& request, const BodySink& sink, std::optional<Result<Response, Error>>& result) {
  Result<Response, Error> got = co_await client.send(request, sink);
  result.emplace(std::move(got));
}

}   // namespace

Result<Response, Error> send_blocking(const Url& url, const ClientOptions& options, const Request& request, const BodySink& sink) {
  asio::io_context io(1);
  HttpClient client(io.get_executor(), url, options);
  std::optional<Result<Response, Error>> result;
  asio::co_spawn(io, send_to(client, request, sink, result), [&](const std::exception_ptr& failure) {
    io.stop();   // do not wait for a name lookup that exceeded its deadline
    if (failure) std::rethrow_exception(failure);
  });
  io.run();
  return *std::move(result);
}

}   // namespace tensorcache::net
