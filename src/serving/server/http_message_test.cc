#include "serving/server/http_message.h"

#include <gtest/gtest.h>

#include <regex>

namespace tensorcache::server {
namespace {

// The date is the one thing that differs from call to call.
std::string undated(const std::string& bytes) {
  static const std::regex date("Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\r\n");
  EXPECT_TRUE(std::regex_search(bytes, date)) << bytes;
  return std::regex_replace(bytes, date, "");
}

TEST(HttpMessage, AReply) {
  Reply reply;
  reply.headers = "Age: 1\r\n";
  reply.body = "{}";
  EXPECT_EQ(undated(render(reply, {})),
            "HTTP/1.1 200 OK\r\nServer: TensorCache\r\nContent-Type: application/json\r\nContent-Length: 2\r\nAge: 1\r\n\r\n{}");
}

TEST(HttpMessage, OfHeadHasTheLengthAndNoBody) {
  Reply reply;
  reply.status = 404;
  reply.content_type = "text/plain";
  reply.body = "nothing";
  EXPECT_EQ(undated(render(reply, {.keep_alive = false, .head_only = true})),
            "HTTP/1.1 404 Not Found\r\nServer: TensorCache\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nConnection: close\r\n\r\n");
}

TEST(HttpMessage, Of10SaysThatTheConnectionStays) {
  EXPECT_EQ(undated(render({}, {.http_1_0 = true})),
            "HTTP/1.0 200 OK\r\nServer: TensorCache\r\nContent-Type: application/json\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
}

TEST(HttpMessage, AStreamsHead) {
  const std::string common = "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";
  EXPECT_EQ(undated(render_stream_head("Age: 1\r\n", {})),
            "HTTP/1.1 200 OK\r\nServer: TensorCache\r\n" + common + "Transfer-Encoding: chunked\r\nAge: 1\r\n\r\n");
  EXPECT_EQ(undated(render_stream_head("", {.http_1_0 = true})), "HTTP/1.0 200 OK\r\nServer: TensorCache\r\n" + common + "Connection: close\r\n\r\n")
      << "its end is the connection's";
}

TEST(HttpMessage, Chunks) {
  std::string out = "before";
  append_chunk(out, std::string(26, 'x'));
  EXPECT_EQ(out, "before1a\r\n" + std::string(26, 'x') + "\r\n");
  EXPECT_EQ(kLastChunk, "0\r\n\r\n");
}

TEST(HttpMessage, AProblem) {
  const Reply busy = problem_reply({503, "later", "", "overloaded", 7});
  EXPECT_EQ(busy.status, 503);
  EXPECT_EQ(busy.headers, "Retry-After: 7\r\n");
  EXPECT_NE(busy.body.find("\"message\":\"later\""), std::string::npos);
  EXPECT_EQ(problem_reply({401, "who?", "", "invalid_api_key", 0}).headers, "WWW-Authenticate: Bearer realm=\"tensorcache\"\r\n");
}

}   // namespace
}   // namespace tensorcache::server
