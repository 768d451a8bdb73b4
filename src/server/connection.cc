#include "server/connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include <utility>

namespace tensorcache {
namespace {
constexpr std::size_t kReadAheadStep = 4096;
constexpr std::size_t kLingerBytes = 4u << 20;   // of a request that was refused, read and thrown away
constexpr std::chrono::seconds kLingerTime{2};
}   // namespace

Connection::Connection(Socket socket, std::size_t read_ahead_bytes)
    : socket_(std::move(socket)), alarm_(socket_.get_executor()), read_ahead_bytes_(read_ahead_bytes) {}

void Connection::check_deadline(Clock::time_point now) {
  if (now < deadline_) return;
  deadline_ = Clock::time_point::max();
  expired_ = true;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

Task<bool> Connection::write(std::string_view data, std::chrono::milliseconds stall) {
  while (!data.empty() && !gone_) {
    expire_after(stall);
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
  if (watching_ || gone_ || stop_watching_ || buffer_.size() >= read_ahead_bytes_) return;
  watching_ = true;
  socket_.async_read_some(buffer_.prepare(kReadAheadStep), [self = shared_from_this()](boost::system::error_code error, std::size_t count) {
    self->watching_ = false;
    if (!error) {
      self->buffer_.commit(count);
      self->watch();
    } else if (!self->stop_watching_) {
      // An expired write cancels the watch with it, and then closes.
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

}   // namespace tensorcache
