// Requests and replies in native types, between the session (HTTP) and the routes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "serving/protocol/problem.h"

namespace tensorcache::server {

// A request as passed to routes: views into the session's parser, except the body.
struct HttpRequest {
  std::string_view method, target;
  std::string body;
  std::string_view host, origin, authorization, api_key, request_id, store_id, preflight_headers;
  bool several_hosts = false;
  bool preflight = false;      // a browser asks what a page may send
  std::string cache_control;   // values of all such headers, joined by commas
  bool keep_alive = true;
  bool http_1_0 = false;   // the client does not support chunks
};

// A complete reply.
struct Reply {
  int status = 200;
  std::string_view content_type = "application/json";
  std::string headers;   // further header lines, each "Name: value\r\n"
  std::string body;
};

[[nodiscard]] Reply problem_reply(const protocol::Problem& problem, protocol::Format format = protocol::Format::kChat);

// How a reply is framed.
struct Framing {
  bool keep_alive = true;
  bool head_only = false;   // for HEAD: Content-Length but no body
  bool http_1_0 = false;
};

// RETURNS status line, headers and body.
[[nodiscard]] std::string render(const Reply& reply, const Framing& framing);

// RETURNS the head of a stream of server-sent events; `headers` as in Reply. Chunked, or for
// HTTP/1.0 terminated by closing.
[[nodiscard]] std::string render_stream_head(std::string_view headers, const Framing& framing);

// Appends `data` as one chunk. REQUIRES: it is not empty, which would end the stream.
void append_chunk(std::string& out, std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}   // namespace tensorcache::server
