#include "serving/server/connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

namespace tensorcache::server {
namespace {
constexpr std::size_t kReadAheadStep = 4096;
constexpr std::size_t kBodyStep = 128u << 10;    // largest read of a body
constexpr std::size_t kLingerBytes = 4u << 20;   // bytes of a rejected request that are read and discarded
constexpr std::chrono::seconds kLingerTime{2};
}   // namespace

// The limit of the buffer also bounds chunk extensions and trailers, which the parser does not
// count.
Connection::Connection(Socket socket, const Limits& limits)
    : socket_(std::move(socket)), alarm_(socket_.get_executor()), buffer_(limits.read_ahead_bytes + kBodyStep), limits_(limits) {}

void Connection::check_deadline(Clock::time_point now) {
  if (now < deadline_) return;
  expired_ = true;   // repeated at the next tick: a read that finds data at once escapes one cancel()
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

Task<bool> Connection::write(std::string_view data) {
  const auto end = Clock::now() + limits_.write_stall + std::chrono::milliseconds(1000 * data.size() / limits_.min_bytes_per_second);
  while (!data.empty() && !gone_) {
    expire_at(std::min(end, Clock::now() + limits_.write_stall));
    const auto [error, count] = co_await socket_.async_write_some(asio::buffer(data.data(), data.size()), kNoThrow);
    if (error) {
      close();
      co_return false;
    }
    data.remove_prefix(count);
  }
  expire_never();
  co_return !gone_;
}

void Connection::watch() {
  if (watching_ || gone_ || stop_watching_ || buffer_.size() >= limits_.read_ahead_bytes) return;
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(kReadAheadStep), [self = shared_from_this()](boost::system::error_code error, std::size_t count) {
    self->watching_ = false;
    if (!error) {
      self->buffer_.commit(count);
      self->watch();
    } else if (!self->stop_watching_) {
      // An expired write cancels the watch first, then closes.
      self->gone_ = true;
    }
    self->fire();
  });
}

Task<void> Connection::unwatch() {
  stop_watching_ = true;
  boost::system::error_code ignored;
  if (watching_) socket_.cancel(ignored);
  while (watching_) co_await wait();
  stop_watching_ = false;
}

Task<void> Connection::wait() {
  if (!fired_) {
    alarm_.expires_at(Clock::time_point::max());
    co_await alarm_.async_wait(kNoThrow);
  }
  fired_ = false;
}

void Connection::fire() {
  fired_ = true;
  alarm_.cancel();
}

void Connection::wake(const std::shared_ptr<Connection>& connection) {
  asio::post(connection->socket_.get_executor(), [connection] { connection->fire(); });
}

Task<void> Connection::linger_and_close() {
  boost::system::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  expire_after(kLingerTime);
  buffer_.clear();
  for (std::size_t read = 0; read < kLingerBytes;) {
    const auto [error, count] = co_await socket_.async_read_some(buffer_.prepare(16 * kReadAheadStep), kNoThrow);
    if (error) break;
    read += count;
  }
  close();
}

void Connection::close() {
  gone_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
  fire();
}

}   // namespace tensorcache::server
