#include "serving/server/http_message.h"

#include <boost/beast/http/status.hpp>

#include <charconv>
#include <ctime>

namespace tensorcache::server {
namespace {

// RETURNS "Date: ...\r\n", cached for one second.
std::string_view date_line() {
  thread_local std::time_t made_at = 0;
  thread_local char line[48];
  thread_local std::size_t size = 0;
  const std::time_t now = std::time(nullptr);
  if (now != made_at) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    size = std::strftime(line, sizeof line, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    made_at = now;
  }
  return {line, size};
}

std::string status_line_and_common(int status, bool http_1_0, std::size_t room) {
  std::string out;
  out.reserve(256 + room);
  out += http_1_0 ? "HTTP/1.0 " : "HTTP/1.1 ";
  out += std::to_string(status);
  out += ' ';
  out += boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(status));
  out += "\r\nServer: TensorCache\r\n";
  out += date_line();
  return out;
}

std::string_view connection_line(const Framing& framing) {
  if (!framing.keep_alive) return "Connection: close\r\n";
  return framing.http_1_0 ? "Connection: keep-alive\r\n" : "";
}

}   // namespace

Reply problem_reply(const protocol::Problem& problem, protocol::Format format) {
  Reply reply;
  reply.status = problem.status;
  reply.body = protocol::problem_json(problem, format);
  if (problem.retry_after_s > 0) reply.headers += "Retry-After: " + std::to_string(problem.retry_after_s) + "\r\n";
  if (problem.status == 401) reply.headers += "WWW-Authenticate: Bearer realm=\"tensorcache\"\r\n";
  return reply;
}

std::string render(const Reply& reply, const Framing& framing) {
  std::string out = status_line_and_common(reply.status, framing.http_1_0, reply.headers.size() + reply.body.size());
  if (reply.status != 204) {   // which has no body
    out += "Content-Type: ";
    out += reply.content_type;
    out += "\r\nContent-Length: ";
    out += std::to_string(reply.body.size());
    out += "\r\n";
  }
  out += connection_line(framing);
  out += reply.headers;
  out += "\r\n";
  if (!framing.head_only) out += reply.body;
  return out;
}

std::string render_stream_head(std::string_view headers, const Framing& framing) {
  std::string out = status_line_and_common(200, framing.http_1_0, headers.size());
  out += "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";
  if (!framing.http_1_0) out += "Transfer-Encoding: chunked\r\n";
  out += connection_line({framing.keep_alive && !framing.http_1_0, false, framing.http_1_0});
  out += headers;
  out += "\r\n";
  return out;
}

void append_chunk(std::string& out, std::string_view data) {
  char size[16];
  const auto end = std::to_chars(size, size + sizeof size, data.size(), 16).ptr;
  out.append(size, static_cast<std::size_t>(end - size));
  out += "\r\n";
  out += data;
  out += "\r\n";
}

}   // namespace tensorcache::server
