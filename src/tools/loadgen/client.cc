#include "tools/loadgen/client.h"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include "base/net/sse.h"
#include "tools/loadgen/reply.h"

namespace tensorcache::loadgen {
namespace {

constexpr std::size_t kMaxIdle = 65536;   // connections are reused in the next phase, however many there were

// Limits only the total: the measured server's steps may take any time.
net::Timeouts until(Client::Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Client::Clock::now());
  const std::chrono::milliseconds none{0};
  return {.connect = none, .first_byte = none, .between_bytes = none, .total = std::max(left, std::chrono::milliseconds(1))};
}

net::ClientOptions client_options(net::Headers headers) {
  headers.insert(headers.begin(), {"Accept", "text/event-stream, application/json"});
  return {.headers = std::move(headers), .user_agent = "tensorcache-bench", .max_idle = kMaxIdle, .idle_timeout = std::chrono::hours(1)};
}

bool is_stream(const net::Response& head) { return head.status == 200 && head.header("Content-Type").starts_with("text/event-stream"); }

}   // namespace

Client::Client(boost::asio::io_context& io, const net::Url& url, net::Headers headers)
    : http_(io.get_executor(), url, client_options(std::move(headers))) {
  if (const auto resolved = http_.resolve(); !resolved) throw std::runtime_error(resolved.error().text);
}

boost::asio::awaitable<void> Client::chat(const std::string& body, Clock::time_point deadline, Sample& sample) {
  // The request may be repeated if a reused connection was closed without a response.
  const net::Request request{.method = "POST",
                             .target = "/v1/chat/completions",
                             .headers = {{"Content-Type", "application/json"}},
                             .body = body,
                             .timeouts = until(deadline),
                             .repeatable = true};
  ReplyReader reader(sample, Clock::now());
  net::SseParser events;
  std::string whole;
  const net::BodySink sink = [&](const net::Response& head, std::string_view bytes) {
    if (!is_stream(head)) {
      whole += bytes;
      return true;
    }
    const auto now = Clock::now();
    for (const std::string& event : events.feed(bytes)) reader.event(event, now);
    return true;
  };
  const auto response = co_await http_.send(request, sink);
  const auto now = Clock::now();
  if (!response) {
    sample.error = response.error().text;
  } else if (response->status != 200) {
    reader.failure(response->status, whole);
  } else if (!is_stream(*response)) {
    reader.body(whole, now);
  }
  reader.end(now);
}

boost::asio::awaitable<tensorcache::Result<std::string, std::string>> Client::get(const std::string& path, Clock::time_point deadline) {
  const net::Request request{.target = path, .timeouts = until(deadline)};
  auto response = co_await http_.send(request);
  if (!response) co_return Failure(std::move(response.error().text));
  if (response->status != 200) co_return Failure("HTTP " + std::to_string(response->status));
  co_return std::move(response->body);
}

}   // namespace tensorcache::loadgen
