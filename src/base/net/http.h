// Types of the HTTP client: requests with timeouts, responses, errors.
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

// Time limits of the steps of a call; 0: no limit.
struct Timeouts {
  std::chrono::milliseconds connect{10'000};         // resolve the host, connect, TLS handshake
  std::chrono::milliseconds first_byte{60'000};      // from the last byte of the request to the first of the response
  std::chrono::milliseconds between_bytes{60'000};   // between two pieces sent or received
  std::chrono::milliseconds total{300'000};          // the whole call, including a retry
};

struct Request {
  std::string method = "GET";
  std::string target = "/";   // begins with '/', includes the query; the URL's path is put before it
  Headers headers = {};       // in addition to those of ClientOptions; the client sets Host and Content-Length
  std::string body = {};
  std::optional<Timeouts> timeouts = std::nullopt;   // instead of ClientOptions::timeouts
  // The request may be sent twice without harm, although its method is not idempotent (POST).
  bool repeatable = false;

  // RETURNS true if the client may retry by itself: an idempotent method (RFC 9110, 9.2.2), or
  // `repeatable`.
  [[nodiscard]] bool may_repeat() const;
};

struct Response {
  unsigned status = 0;
  Headers headers = {};    // names as sent by the server
  std::string body = {};   // empty if a BodySink received it
  bool reused = false;     // the response came over a reused connection

  // RETURNS: the first header with this name, case-insensitive; "" if there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const;
};

enum class ErrorKind : std::uint8_t {
  kInvalid,     // the request cannot be sent: a line break in a header, no method, no target
  kResolve,     // the host name cannot be resolved
  kConnect,     // connection refused, or no route to the host
  kTls,         // the handshake failed, e.g. an untrusted certificate or one of another host
  kTimeout,     // one of Timeouts expired
  kClosed,      // the server closed the connection before the response was complete
  kProtocol,    // the response is not valid HTTP
  kTooLarge,    // the body is larger than ClientOptions::max_body_bytes
  kStopped,     // the BodySink returned false
  kCancelled,   // the coroutine was cancelled
};
[[nodiscard]] std::string_view error_kind_name(ErrorKind kind);

// A failed call: no complete response arrived. A response with status 500 is a response.
struct Error {
  ErrorKind kind = ErrorKind::kProtocol;
  std::string text;   // one sentence for users, without a full stop
};

// Receives the body in pieces as they arrive, after status and headers. Returns false to stop: the
// connection is closed and the call ends with kStopped. A piece is valid during the call only.
using BodySink = std::function<bool(const Response& head, std::string_view piece)>;

}   // namespace tensorcache::net
