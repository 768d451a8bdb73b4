#include "serving/server/exchange.h"

#include <utility>

namespace tensorcache::server {

Task<bool> send(Exchange& exchange, Reply reply) {
  exchange.service.metrics.count_reply(exchange.match.route, reply.status);
  exchange.record.status = reply.status;
  reply.headers += exchange.common_lines;
  const Framing framing{exchange.keep_alive(), exchange.request.method == "HEAD", exchange.request.http_1_0};
  const std::string bytes = render(reply, framing);
  const bool written = co_await exchange.connection->write(bytes);
  co_return written&& framing.keep_alive;
}

}   // namespace tensorcache::server
