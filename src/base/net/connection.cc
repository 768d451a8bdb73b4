#include "base/net/connection.h"

#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include <cerrno>

#include "base/core/deadline.h"
#include "base/core/units.h"

namespace tensorcache::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using Parser = http::response_parser<http::buffer_body>;
using MaybeError = std::optional<Error>;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kPieceBytes = 16384;
constexpr std::uint32_t kMaxHeadBytes = 65536;

bool is_closed(const error_code& error) {
  return error == http::error::end_of_stream || error == http::error::partial_message || error == asio::error::eof ||
         error == asio::error::connection_reset || error == asio::error::broken_pipe || error == asio::error::connection_aborted ||
         error == asio::ssl::error::stream_truncated;
}

// RETURNS the error of a step with the time limit `limit`; `step` names it in the message.
Error error_of(const error_code& error, const Deadlines& deadlines, const char* step, std::chrono::milliseconds limit) {
  if (error == asio::error::operation_aborted) return {ErrorKind::kCancelled, "cancelled"};
  if (error == beast::error::timeout) {
    if (Clock::now() >= deadlines.total) return {ErrorKind::kTimeout, "timed out"};
    return {ErrorKind::kTimeout, std::string("timed out: ") + step + " within " + format_duration(limit)};
  }
  if (is_closed(error)) return {ErrorKind::kClosed, "the server closed the connection"};
  if (error.category() == http::make_error_code(http::error::bad_version).category())
    return {ErrorKind::kProtocol, "the response is not HTTP: " + error.message()};
  return {ErrorKind::kClosed, error.message()};
}

Error connect_error(const Url& url, const error_code& error, const Deadlines& deadlines, ErrorKind kind) {
  const std::string where = "cannot connect to " + url.authority() + ": ";
  if (error == asio::error::operation_aborted) return {ErrorKind::kCancelled, "cancelled"};
  if (error != beast::error::timeout) return {kind, where + (kind == ErrorKind::kTls ? "TLS: " : "") + error.message()};
  const bool all = Clock::now() >= deadlines.total;
  return {ErrorKind::kTimeout, where + (all ? "timed out" : "timed out after " + format_duration(deadlines.timeouts.connect))};
}

// Makes the handshake send (SNI) and verify the URL's host name.
bool expect_host(SSL* tls, const std::string& host) {
  error_code no_address;
  asio::ip::make_address(host, no_address);
  if (!no_address) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host.c_str()) == 1;
  std::string name = host;   // a copy, because OpenSSL's macro needs a mutable pointer and casts in the old style
  return SSL_ctrl(tls, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data()) == 1 && SSL_set1_host(tls, host.c_str()) == 1;
}

void take_head(const Parser::value_type& head, Response& response) {
  response.status = head.result_int();
  response.headers.clear();
  for (const auto& field : head) {
    const auto name = field.name_string();
    const auto value = field.value();
    response.headers.emplace_back(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  }
}

}   // namespace

Deadlines::Deadlines(const Timeouts& times) : timeouts(times) {
  if (times.total.count() > 0) total = deadline_after(times.total);
}

Clock::time_point Deadlines::of(std::chrono::milliseconds limit) const { return limit.count() > 0 ? std::min(total, deadline_after(limit)) : total; }

Connection::Connection(const asio::any_io_executor& executor, asio::ssl::context* tls) {
  if (tls == nullptr) {
    plain_.emplace(executor);
  } else {
    tls_.emplace(executor, *tls);
  }
}

beast::tcp_stream& Connection::lowest() { return tls_ ? beast::get_lowest_layer(*tls_) : *plain_; }

bool Connection::is_stale() {
  char byte = 0;
  const ssize_t got = ::recv(lowest().socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

asio::awaitable<MaybeError> Connection::open(const Url& url, const Endpoints& endpoints, const Deadlines& deadlines) {
  beast::tcp_stream& stream = lowest();
  stream.expires_at(deadlines.of(deadlines.timeouts.connect));
  auto [error, endpoint] = co_await stream.async_connect(endpoints, kTuple);
  if (error) co_return connect_error(url, error, deadlines, ErrorKind::kConnect);
  error_code ignored;
  stream.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  if (!tls_) co_return std::nullopt;
  if (!expect_host(tls_->native_handle(), url.host)) co_return Error{ErrorKind::kTls, url.host + " is not a valid host name for TLS"};
  auto [shake_error] = co_await tls_->async_handshake(asio::ssl::stream_base::client, kTuple);
  if (!shake_error) co_return std::nullopt;
  Error failed = connect_error(url, shake_error, deadlines, ErrorKind::kTls);
  const long verdict = SSL_get_verify_result(tls_->native_handle());
  if (failed.kind == ErrorKind::kTls && verdict != X509_V_OK) failed.text += std::string(" (") + X509_verify_cert_error_string(verdict) + ")";
  co_return failed;
}

template <typename Stream>
asio::awaitable<MaybeError> Connection::write(Stream& stream, const WireRequest& message, const Deadlines& deadlines, Progress& progress) {
  const std::chrono::milliseconds limit = deadlines.timeouts.between_bytes;
  http::request_serializer<http::string_body> serializer(message);
  while (!serializer.is_done()) {
    lowest().expires_at(deadlines.of(limit));
    auto [error, bytes] = co_await http::async_write_some(stream, serializer, kTuple);
    progress.sent = progress.sent || bytes > 0;
    if (error) co_return error_of(error, deadlines, "the server accepted no data", limit);
  }
  co_return std::nullopt;
}

template <typename Stream>
asio::awaitable<MaybeError> Connection::read(Stream& stream, bool head_only, const Deadlines& deadlines, std::size_t max_body_bytes,
                                             const BodySink& sink, Response& response, Progress& progress) {
  const Timeouts& limits = deadlines.timeouts;
  lowest().expires_at(deadlines.of(limits.first_byte));
  const auto room = buffer_.prepare(kPieceBytes);
  auto [first_error, first_bytes] = co_await stream.async_read_some(room, kTuple);
  if (first_error) co_return error_of(first_error, deadlines, "no response", limits.first_byte);
  buffer_.commit(first_bytes);
  progress.answered = true;
  std::optional<Parser> parser;
  do {   // reads the response, after any 1xx responses before it
    parser.emplace();
    parser->body_limit(boost::none);
    parser->header_limit(kMaxHeadBytes);
    parser->skip(head_only);
    lowest().expires_at(deadlines.of(limits.between_bytes));
    auto [error, bytes] = co_await http::async_read_header(stream, buffer_, *parser, kTuple);
    if (error) co_return error_of(error, deadlines, "no data received", limits.between_bytes);
  } while (parser->get().result_int() / 100 == 1 && parser->get().result_int() != 101);
  take_head(parser->get(), response);
  std::array<char, kPieceBytes> piece;
  while (!parser->is_done()) {
    parser->get().body().data = piece.data();
    parser->get().body().size = piece.size();
    lowest().expires_at(deadlines.of(limits.between_bytes));
    auto [error, bytes] = co_await http::async_read_some(stream, buffer_, *parser, kTuple);
    if (error == http::error::need_buffer) error = {};
    const std::string_view got(piece.data(), piece.size() - parser->get().body().size);
    if (sink && !got.empty() && !sink(response, got)) co_return Error{ErrorKind::kStopped, "stopped by the caller"};
    if (!sink) response.body += got;
    if (response.body.size() > max_body_bytes) co_return Error{ErrorKind::kTooLarge, "the response is larger than " + format_size(max_body_bytes)};
    if (error) co_return error_of(error, deadlines, "no data received", limits.between_bytes);
  }
  // Bytes after the end of the response belong to no request: do not reuse the connection then.
  reusable_ = parser->keep_alive() && response.status != 101 && buffer_.size() == 0;
  co_return std::nullopt;
}

asio::awaitable<MaybeError> Connection::exchange(const WireRequest& message, const Deadlines& deadlines, std::size_t max_body_bytes,
                                                 const BodySink& sink, Response& response, Progress& progress) {
  reusable_ = false;
  const bool head_only = message.method() == http::verb::head;
  MaybeError error;
  if (tls_) {
    error = co_await write(*tls_, message, deadlines, progress);
    if (!error) error = co_await read(*tls_, head_only, deadlines, max_body_bytes, sink, response, progress);
  } else {
    error = co_await write(*plain_, message, deadlines, progress);
    if (!error) error = co_await read(*plain_, head_only, deadlines, max_body_bytes, sink, response, progress);
  }
  lowest().expires_never();
  co_return error;
}

}   // namespace tensorcache::net
