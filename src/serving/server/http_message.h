// Requests and replies in native types, between the session (HTTP) and the routes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "serving/protocol/problem.h"

namespace tensorcache::server {

// One request as the routes see it: views into the session's parser, but for the body.
struct HttpRequest {
  std::string_view method, target;
  std::string body;
  std::string_view host, origin, authorization, request_id, store_id;
  bool several_hosts = false;
  std::string cache_control;   // all such headers, joined by commas
  bool keep_alive = true;
  bool http_1_0 = false;   // knows no chunks
};

// A whole reply.
struct Reply {
  int status = 200;
  std::string_view content_type = "application/json";
  std::string headers;   // further lines, each "Name: value\r\n"
  std::string body;
};

[[nodiscard]] Reply problem_reply(const protocol::Problem& problem);

// How a reply is put on the wire.
struct Framing {
  bool keep_alive = true;
  bool head_only = false;   // for HEAD: the length, but no body
  bool http_1_0 = false;
};

// Status line, headers and body.
[[nodiscard]] std::string render(const Reply& reply, const Framing& framing);

// The head of a stream of server-sent events; `headers` as in Reply. Chunked, or for HTTP/1.0 until the connection closes.
[[nodiscard]] std::string render_stream_head(std::string_view headers, const Framing& framing);

// `data` as one chunk. An empty one would end the stream: do not.
void append_chunk(std::string& out, std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}   // namespace tensorcache::server
