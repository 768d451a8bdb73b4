#include "tools/loadgen/client.h"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <optional>
#include <stdexcept>

#include "tools/loadgen/reply.h"
#include "base/net/sse.h"

namespace tensorcache::loadgen {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;
using Request = http::request<http::string_body>;
using Parser = http::response_parser<http::buffer_body>;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

asio::ssl::context& tls_context() {
  static asio::ssl::context context = [] {
    asio::ssl::context made(asio::ssl::context::tls_client);
    made.set_default_verify_paths();
    made.set_verify_mode(asio::ssl::verify_peer);
    return made;
  }();
  return context;
}

std::string said(const error_code& error) {
  if (error == beast::error::timeout) return "timed out";
  if (error == http::error::end_of_stream || error == http::error::partial_message) return "the server closed the connection";
  return error.message();
}

}   // namespace

struct Client::Impl {
  asio::io_context& io;
  const Endpoints& endpoints;
  const net::Url& url;
  const Headers& headers;
  std::optional<beast::tcp_stream> plain;   // one of the two is open
  std::optional<TlsStream> tls;
  beast::flat_buffer buffer;
  unsigned status = 0;   // of the reply that is being read
  bool streamed = false;

  [[nodiscard]] bool open() const { return plain || tls; }
  void close() {
    plain.reset();
    tls.reset();
    buffer.clear();
  }

  [[nodiscard]] Request request(http::verb verb, const std::string& path, std::string body) const {
    Request made(verb, url.path + path, 11);
    made.set(http::field::host, url.authority());
    made.set(http::field::user_agent, "tensorcache-bench");
    made.set(http::field::accept, "text/event-stream, application/json");
    for (const auto& [name, value] : headers) made.set(name, value);
    if (verb == http::verb::post) made.set(http::field::content_type, "application/json");
    made.body() = std::move(body);
    made.prepare_payload();
    return made;
  }

  asio::awaitable<error_code> connect(Clock::time_point deadline) {
    close();
    if (!url.tls) {
      plain.emplace(io);
      plain->expires_at(deadline);
      auto [error, endpoint] = co_await plain->async_connect(endpoints, kTuple);
      if (!error) plain->socket().set_option(asio::ip::tcp::no_delay(true), error);
      co_return error;
    }
    tls.emplace(io, tls_context());
    std::string name = url.host;   // OpenSSL's own macro for this is an old-style cast
    if (SSL_ctrl(tls->native_handle(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data()) != 1) {
      co_return asio::error::invalid_argument;
    }
    tls->set_verify_callback(asio::ssl::host_name_verification(url.host));
    beast::get_lowest_layer(*tls).expires_at(deadline);
    auto [error, endpoint] = co_await beast::get_lowest_layer(*tls).async_connect(endpoints, kTuple);
    if (error) co_return error;
    auto [shake_error] = co_await tls->async_handshake(asio::ssl::stream_base::client, kTuple);
    co_return shake_error;
  }

  // Sends and reads on an open stream. `answered` says whether a byte of the reply came.
  template <typename Stream, typename OnPiece>
  asio::awaitable<error_code> exchange_on(Stream& stream, const Request& message, Clock::time_point deadline, OnPiece& on_piece, bool& answered) {
    beast::get_lowest_layer(stream).expires_at(deadline);
    auto [write_error, written] = co_await http::async_write(stream, message, kTuple);
    if (write_error) co_return write_error;
    Parser parser;
    parser.body_limit(boost::none);
    auto [header_error, header_bytes] = co_await http::async_read_header(stream, buffer, parser, kTuple);
    answered = answered || buffer.size() > 0 || parser.got_some();
    if (header_error) co_return header_error;
    answered = true;
    status = parser.get().result_int();
    streamed = parser.get()[http::field::content_type].starts_with("text/event-stream");
    std::array<char, 16384> piece;
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      auto [error, bytes] = co_await http::async_read_some(stream, buffer, parser, kTuple);
      if (error == http::error::need_buffer) error = {};
      on_piece(std::string_view(piece.data(), piece.size() - parser.get().body().size));
      if (error) co_return error;
    }
    if (!parser.get().keep_alive()) close();
    co_return error_code();
  }

  // A kept connection that the server closed meanwhile is opened once more.
  template <typename OnPiece>
  asio::awaitable<std::string> exchange(const Request& message, Clock::time_point deadline, OnPiece on_piece) {
    for (const bool kept : {true, false}) {
      if (kept && !open()) continue;
      if (!kept) {
        const error_code error = co_await connect(deadline);
        if (error) {
          close();
          co_return "cannot connect to " + url.authority() + ": " + said(error);
        }
      }
      bool answered = false;
      error_code error;
      if (tls) {
        error = co_await exchange_on(*tls, message, deadline, on_piece, answered);
      } else {
        error = co_await exchange_on(*plain, message, deadline, on_piece, answered);
      }
      if (!error) co_return std::string();
      close();
      if (!kept || answered || error == beast::error::timeout) co_return said(error);
    }
    co_return std::string("unreachable");
  }
};

Endpoints resolve(asio::io_context& io, const net::Url& url) {
  error_code error;
  Endpoints endpoints = asio::ip::tcp::resolver(io).resolve(url.host, url.port, error);
  if (error) throw std::runtime_error("cannot find the host " + url.host + ": " + error.message());
  return endpoints;
}

Client::Client(asio::io_context& io, const Endpoints& endpoints, const net::Url& url, const Headers& headers)
    : impl_(new Impl{io, endpoints, url, headers, {}, {}, {}, 0, false}) {}

Client::~Client() = default;

asio::awaitable<void> Client::chat(const std::string& body, Clock::time_point deadline, Sample& sample) {
  const Request message = impl_->request(http::verb::post, "/v1/chat/completions", body);
  ReplyReader reader(sample, Clock::now());
  net::SseParser events;
  std::string whole;
  const auto on_piece = [&](std::string_view bytes) {
    if (impl_->status != 200 || !impl_->streamed) {
      whole += bytes;
      return;
    }
    const auto now = Clock::now();
    for (const std::string& event : events.feed(bytes)) reader.event(event, now);
  };
  std::string error = co_await impl_->exchange(message, deadline, on_piece);
  const auto now = Clock::now();
  if (error.empty() && impl_->status != 200) {
    reader.failure(impl_->status, whole);
  } else if (error.empty() && !impl_->streamed) {
    reader.body(whole, now);
  }
  if (!error.empty()) sample.error = std::move(error);
  reader.end(now);
}

asio::awaitable<std::string> Client::get(std::string path, Clock::time_point deadline, std::string& error) {
  const Request message = impl_->request(http::verb::get, path, {});
  std::string whole;
  const auto on_piece = [&](std::string_view bytes) { whole += bytes; };
  error = co_await impl_->exchange(message, deadline, on_piece);
  if (error.empty() && impl_->status != 200) error = "HTTP " + std::to_string(impl_->status);
  if (!error.empty()) whole.clear();
  co_return whole;
}

asio::awaitable<std::string> Client::remove(std::string path, Clock::time_point deadline, int& status, std::string& error) {
  const Request message = impl_->request(http::verb::delete_, path, {});
  std::string whole;
  const auto on_piece = [&](std::string_view bytes) { whole += bytes; };
  error = co_await impl_->exchange(message, deadline, on_piece);
  status = static_cast<int>(impl_->status);
  co_return whole;
}

}   // namespace tensorcache::loadgen
