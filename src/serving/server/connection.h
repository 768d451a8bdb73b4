// A client's socket with deadlines, a wake-up, and detection of a client that leaves.
//
// THREADS: the server's thread only, except Connection::wake, which may be called from any.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "base/core/callback_target.h"

namespace tensorcache::server {

namespace asio = boost::asio;
using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor>;
template <class T>
using Task = asio::awaitable<T, Executor>;
// Completion token: co_await returns the error code with the result and never throws.
inline constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable_t<Executor>{});

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  struct Limits {
    std::size_t read_ahead_bytes;            // bytes that a client may send ahead of its next request
    std::chrono::milliseconds write_stall;   // maximum time without progress of a write...
    std::uint64_t min_bytes_per_second;      // ...and minimum rate of a long reply
  };
  Connection(Socket socket, const Limits& limits);

  [[nodiscard]] Socket& socket() { return socket_; }
  [[nodiscard]] boost::beast::flat_buffer& buffer() { return buffer_; }

  // Makes pending socket operations fail after this time, see check_deadline.
  void expire_after(std::chrono::milliseconds time) {
    deadline_ = Clock::now() + time;
    expired_ = false;
  }
  void expire_at(Clock::time_point deadline) {
    deadline_ = deadline;
    expired_ = false;
  }
  [[nodiscard]] Clock::time_point deadline() const { return deadline_; }
  void expire_never() { deadline_ = Clock::time_point::max(); }
  [[nodiscard]] bool expired() const { return expired_; }
  // Called by the server every few milliseconds for each connection; cheaper than a timer per
  // operation.
  void check_deadline(Clock::time_point now);

  // Writes all bytes. RETURNS false if the client left or is too slow.
  [[nodiscard]] Task<bool> write(std::string_view data);

  // Reads ahead until unwatch(), to detect that the client left. Closing its sending side counts as
  // leaving, as in most HTTP servers. REQUIRES: no other read meanwhile.
  void watch();
  [[nodiscard]] Task<void> unwatch();
  [[nodiscard]] bool gone() const { return gone_; }

  // Waits for the next wake(), or returns at once after one since the last wait; also returns when
  // the client leaves.
  [[nodiscard]] Task<void> wait();
  static void wake(const std::shared_ptr<Connection>& connection);

  // Shuts down the sending side and waits briefly for the client to close, so that it reads the
  // last reply and not a reset caused by unread data.
  [[nodiscard]] Task<void> linger_and_close();
  void close();

  bool idle = false;   // between requests: may be closed without loss

 private:
  void fire();

  Socket socket_;
  Timer alarm_;
  boost::beast::flat_buffer buffer_;
  const Limits limits_;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool expired_ = false, fired_ = false, watching_ = false, stop_watching_ = false, gone_ = false;
};

// Wakes the connection from callbacks that may come after the connection and the server's loop were
// destroyed. They have an effect while the coroutine that holds the scope exists.
class WakeupScope {
 public:
  explicit WakeupScope(std::shared_ptr<Connection> connection) : target_(std::move(connection)) {}
  // RETURNS a function that wakes the connection. THREADS: any.
  [[nodiscard]] auto wake() const {
    return [ref = target_.ref()] { ref.call([](const std::shared_ptr<Connection>& connection) { Connection::wake(connection); }); };
  }

 private:
  CallbackTarget<std::shared_ptr<Connection>> target_;
};

}   // namespace tensorcache::server
