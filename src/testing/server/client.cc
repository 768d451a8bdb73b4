#include "testing/server/client.h"

#include <arpa/inet.h>
#include <boost/json/parse.hpp>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace tensorcache::testing {

std::string ClientReply::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

boost::json::value ClientReply::json() const {
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(body, error);
  EXPECT_FALSE(error) << body;
  return value;
}

std::vector<std::string> ClientReply::events() const {
  std::vector<std::string> events;
  std::string_view rest = body;
  for (std::size_t end; (end = rest.find("\n\n")) != std::string_view::npos; rest.remove_prefix(end + 2)) {
    EXPECT_TRUE(rest.starts_with("data: ")) << rest;
    events.emplace_back(rest.substr(6, end - 6));
  }
  EXPECT_EQ(rest, "");
  return events;
}

std::string ClientReply::text() const {
  if (!header("content-type").starts_with("text/event-stream"))
    return std::string(json().at("choices").at(0).at("message").at("content").as_string());
  std::string text;
  for (const std::string& event : events()) {
    if (event == "[DONE]") continue;
    const boost::json::value chunk = boost::json::parse(event);
    const auto* choices = chunk.as_object().if_contains("choices");
    if (!choices || choices->as_array().empty()) continue;
    if (const auto* content = choices->at(0).at("delta").as_object().if_contains("content"); content && content->is_string()) {
      text += content->get_string();
    }
  }
  return text;
}

std::string ClientReply::error(const std::string& member) const {
  const boost::json::value document = json();
  const boost::json::value& value = document.at("error").at(member);
  return value.is_string() ? std::string(value.as_string()) : "";
}

Client::Client(std::uint16_t port, int receive_buffer_bytes) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
  if (receive_buffer_bytes > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr generic;
  static_assert(sizeof generic == sizeof address);
  std::memcpy(&generic, &address, sizeof generic);
  if (connect(fd_, &generic, sizeof generic) != 0) ADD_FAILURE() << "no connection to port " << port;
}

void Client::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Client::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;   // the server has closed; what it said shows in read()
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void Client::request(std::string_view method, std::string_view target, std::string_view headers, std::string_view body) const {
  std::string bytes = std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(headers);
  if (!body.empty()) bytes += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  send(bytes + "\r\n" + std::string(body));
}

void Client::post(std::string_view body, std::string_view headers, std::string_view target) const { request("POST", target, headers, body); }

bool Client::fill(std::chrono::milliseconds time) {
  pollfd waiting{fd_, POLLIN, 0};
  if (poll(&waiting, 1, static_cast<int>(time.count())) <= 0) return false;
  char bytes[16 << 10];
  const ssize_t count = recv(fd_, bytes, sizeof bytes, 0);
  if (count <= 0) return false;
  buffer_.append(bytes, static_cast<std::size_t>(count));
  return true;
}

bool Client::read_until(std::string_view text) {
  while (buffer_.find(text) == std::string::npos)
    if (!fill()) return false;
  return true;
}

bool Client::closed_within(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  pollfd waiting{fd_, POLLIN, 0};
  for (auto now = std::chrono::steady_clock::now(); now < end; now = std::chrono::steady_clock::now()) {
    poll(&waiting, 1, static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(end - now).count()) + 1);
    char bytes[4096];
    const ssize_t count = recv(fd_, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno == ECONNRESET)) return true;
    if (count > 0) buffer_.append(bytes, static_cast<std::size_t>(count));
  }
  return false;
}

bool Client::is_readable() const {
  pollfd waiting{fd_, POLLIN, 0};
  return poll(&waiting, 1, 0) > 0;
}

bool Client::ended_after_reading(std::size_t bytes) const {
  std::string buffer(bytes, '\0');
  const ssize_t count = recv(fd_, buffer.data(), bytes, MSG_DONTWAIT);
  return count == 0 || (count < 0 && errno != EAGAIN);
}

bool Client::read_chunks(std::size_t at, ClientReply& reply) {
  for (;;) {
    std::size_t line;
    while ((line = buffer_.find("\r\n", at)) == std::string::npos)
      if (!fill()) return false;
    const std::size_t size = std::strtoul(buffer_.c_str() + at, nullptr, 16);
    while (buffer_.size() < line + 2 + size + 2)
      if (!fill()) return false;
    reply.body.append(buffer_, line + 2, size);
    at = line + 2 + size + 2;
    if (size == 0) {
      buffer_.erase(0, at);
      return true;
    }
  }
}

ClientReply Client::read(bool head_only) {
  ClientReply reply;
  if (!read_until("\r\n\r\n")) return reply;
  const std::size_t head_end = buffer_.find("\r\n\r\n");
  reply.status = std::atoi(buffer_.c_str() + 9);
  for (std::size_t line = buffer_.find("\r\n") + 2; line < head_end;) {
    const std::size_t end = buffer_.find("\r\n", line), colon = buffer_.find(": ", line);
    std::string name = buffer_.substr(line, colon - line);
    std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
    reply.headers[name] = buffer_.substr(colon + 2, end - colon - 2);
    line = end + 2;
  }
  const std::size_t body = head_end + 4;
  if (reply.header("transfer-encoding") == "chunked") {
    reply.whole = read_chunks(body, reply);
  } else if (const std::string length = reply.header("content-length"); !length.empty()) {
    const std::size_t size = head_only ? 0 : std::stoul(length);
    while (buffer_.size() < body + size)
      if (!fill()) return reply;
    reply.body = buffer_.substr(body, size);
    buffer_.erase(0, body + size);
    reply.whole = true;
  } else if (reply.status != 100) {
    while (fill()) {
    }
    reply.body = buffer_.substr(body);
    reply.whole = true;
  } else {
    buffer_.erase(0, body);
  }
  return reply;
}

std::string chat_body(std::string_view words, std::string_view more) {
  std::string body = R"({"model":"fake-model","messages":[{"role":"user","content":")" + std::string(words) + R"("}],"temperature":0)";
  if (!more.empty()) body += "," + std::string(more);
  return body + "}";
}

void ServerTest::start(server::ServerOptions options, FakeEngine::Script script, bool ready) {
  options.port = 0;
  engine_ = std::make_unique<FakeEngine>(std::move(script));
  server_ = std::make_unique<server::Server>(std::move(options), cache_);
  server_->start();
  if (ready) server_->set_engine(*engine_);
}

ClientReply ServerTest::post(std::string_view body, std::string_view headers, std::string_view target) const {
  Client one = client();
  one.post(body, headers, target);
  return one.read();
}

ClientReply ServerTest::get(std::string_view target, std::string_view headers, std::string_view method) const {
  Client one = client();
  one.request(method, target, headers);
  return one.read(method == "HEAD");
}

double ServerTest::metric(const std::string& line, std::string_view headers) const {
  const std::string page = get("/metrics", headers).body;
  const std::size_t at = page.find("\n" + line + " ");
  return at == std::string::npos ? -1 : std::stod(page.substr(at + line.size() + 2));
}

}   // namespace tensorcache::testing
