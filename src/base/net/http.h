// What an HTTP client sends and gets: a request with its timeouts, a response, and the kinds of
// error.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tensorcache::net {

using Headers = std::vector<std::pair<std::string, std::string>>;

// Each is the most that one step may take; 0: no limit.
struct Timeouts {
  std::chrono::milliseconds connect{10'000};         // resolve the host, connect, TLS handshake
  std::chrono::milliseconds first_byte{60'000};      // from the request's last byte to the response's first
  std::chrono::milliseconds between_bytes{60'000};   // from one piece to the next, sent or received
  std::chrono::milliseconds total{300'000};          // all of it, a second try included
};

struct Request {
  std::string method = "GET";
  std::string target = "/";   // from the '/' on, query included; the URL's own path stands before it
  Headers headers = {};       // beside those of ClientOptions; Host and Content-Length are set by the client
  std::string body = {};
  std::optional<Timeouts> timeouts = std::nullopt;   // instead of ClientOptions::timeouts
  // The server may get it twice without harm, although its method does not say so (POST).
  bool repeatable = false;

  // True if HTTP lets a client send it again by itself (RFC 9110, 9.2.2), or `repeatable` does.
  [[nodiscard]] bool may_repeat() const;
};

struct Response {
  unsigned status = 0;
  Headers headers = {};    // names as the server spelt them
  std::string body = {};   // empty where a BodySink took it
  bool reused = false;     // it came over a kept connection

  // RETURNS: the first header of that name in any case, or "".
  [[nodiscard]] std::string_view header(std::string_view name) const;
};

enum class ErrorKind : std::uint8_t {
  kInvalid,     // the request cannot be sent: a line break in a header, no method, no target
  kResolve,     // the host's name has no address
  kConnect,     // nobody listens there, or no way leads there
  kTls,         // the handshake failed: a certificate that is not trusted, or another host's
  kTimeout,     // one of Timeouts was over
  kClosed,      // the server closed the connection before the response was whole
  kProtocol,    // what came is not HTTP
  kTooLarge,    // the body is larger than ClientOptions::max_body_bytes
  kStopped,     // the BodySink returned false
  kCancelled,   // the coroutine was cancelled
};
[[nodiscard]] std::string_view error_kind_name(ErrorKind kind);

// A response with status 500 is a response. An Error says that none came, or not all of it.
struct Error {
  ErrorKind kind = ErrorKind::kProtocol;
  std::string text;   // one sentence for a person, without a full stop
};

// Takes the body piece by piece as it comes; status and headers are known by then. Returns false to
// stop: the connection is closed, and the call ends with kStopped. A piece is valid during the
// call.
using BodySink = std::function<bool(const Response& head, std::string_view piece)>;

}   // namespace tensorcache::net
