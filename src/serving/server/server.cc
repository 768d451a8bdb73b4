#include "serving/server/server.h"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>

#include <spdlog/spdlog.h>

#include <mutex>
#include <stdexcept>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/core/field_error.h"
#include "serving/server/connection.h"
#include "serving/server/service.h"
#include "serving/server/session.h"

namespace tensorcache::server {
namespace {

using Tcp = asio::ip::tcp;
using Acceptor = asio::basic_socket_acceptor<Tcp, Executor>;

constexpr std::chrono::milliseconds kTick{20};   // precision of deadlines
constexpr std::chrono::milliseconds kNoRoomPause{20};
constexpr std::size_t kMaxRefusals = 256;   // maximum number of connections over the limit that get a 503

}   // namespace

struct Server::Impl {
  Impl(ServerOptions options, Cache& cache) : service(std::move(options), cache), ticker(io) {}

  void listen();
  static boost::system::error_code open(Acceptor& acceptor, const Tcp::endpoint& endpoint, bool one_of_several);
  void run();
  Task<void> accept(Acceptor& acceptor);
  Task<void> tick();
  void add(Socket socket);
  void drain();
  void close_all(bool only_idle);

  Service service;
  asio::io_context io{1};            // after service, which coroutines use when they are destroyed
  std::vector<Acceptor> acceptors;   // constant while they accept
  Timer ticker;
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::size_t refusals = 0;   // connections over the limit, which only get a 503 and take no place
  Connection::Clock::time_point cut_off = Connection::Clock::time_point::max();
  std::uint16_t port = 0;
  std::thread thread;
  std::mutex stop_mutex;
};

// Listens on every local address of the host name: clients of "localhost" try ::1 or 127.0.0.1
// first.
void Server::Impl::listen() {
  const ServerOptions& options = service.options;
  const auto require = [&](boost::system::error_code error) {
    if (error) throw std::runtime_error("cannot listen on " + options.host + ":" + std::to_string(options.port) + ": " + error.message());
  };
  boost::system::error_code error;
  asio::ip::basic_resolver<Tcp, Executor> resolver(io);
  std::string host = options.host;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const auto found = resolver.resolve(host, std::to_string(options.port), Tcp::resolver::passive, error);
  require(error);
  for (const auto& entry : found) {
    Tcp::endpoint endpoint = entry.endpoint();
    if (port != 0) endpoint.port(port);   // the free port that the first address got
    Acceptor acceptor(io);
    error = open(acceptor, endpoint, found.size() > 1);
    const bool not_here = error == asio::error::address_family_not_supported || error == boost::system::errc::address_not_available;
    if (error && not_here && found.size() > 1) continue;
    if (error && options.port == 0 && port != 0) continue;   // used by another process: try another port
    require(error);
    port = acceptor.local_endpoint().port();
    acceptors.push_back(std::move(acceptor));
  }
  if (acceptors.empty()) require(error);
}

boost::system::error_code Server::Impl::open(Acceptor& acceptor, const Tcp::endpoint& endpoint, bool one_of_several) {
  boost::system::error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && one_of_several && endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  return error;
}

Task<void> Server::Impl::accept(Acceptor& acceptor) {
  for (;;) {
    auto [error, socket] = co_await acceptor.async_accept(kNoThrow);
    if (service.draining || !acceptor.is_open()) co_return;
    const bool no_room = error == asio::error::no_descriptors || error == asio::error::no_memory || error == asio::error::no_buffer_space;
    if (!error) add(std::move(socket));
    // Waits if out of files or refusals: some connections will close; new ones wait in the system's
    // queue.
    while ((no_room || refusals >= kMaxRefusals) && acceptor.is_open()) {
      Timer pause(io, kNoRoomPause);
      co_await pause.async_wait(kNoThrow);
      if (no_room) break;
    }
  }
}

void Server::Impl::add(Socket socket) {
  const bool too_many = connections.size() - refusals >= service.options.max_connections;
  boost::system::error_code ignored;
  socket.set_option(Tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);   // detects vanished machines
  socket.non_blocking(true, ignored);
  auto connection = std::make_shared<Connection>(
      std::move(socket),
      Connection::Limits{service.options.max_header_bytes, service.options.write_timeout, service.options.min_write_bytes_per_second});
  if (connections.empty()) ticker.cancel();   // stops the ticker
  connections.insert(connection);
  refusals += too_many ? 1 : 0;
  service.metrics.connections = static_cast<int>(connections.size());
  auto done = [this, connection, too_many](std::exception_ptr) {   // at worst out of memory: affects this client only
    connection->close();
    connections.erase(connection);
    refusals -= too_many ? 1 : 0;
    service.metrics.connections = static_cast<int>(connections.size());
    if (service.draining && connections.empty()) ticker.cancel();
  };
  asio::co_spawn(io, too_many ? refuse(connection, service) : serve(connection, service), std::move(done));
}

// Runs until the last connection after drain() has ended.
Task<void> Server::Impl::tick() {
  while (!service.draining || !connections.empty()) {
    if (connections.empty())
      ticker.expires_at(Connection::Clock::time_point::max());
    else
      ticker.expires_after(kTick);
    co_await ticker.async_wait(kNoThrow);
    const auto now = Connection::Clock::now();
    for (const auto& connection : connections) connection->check_deadline(now);
    if (now >= cut_off) close_all(false);
  }
}

void Server::Impl::drain() {
  service.draining = true;
  cut_off = Connection::Clock::now() + service.options.drain_timeout;
  boost::system::error_code ignored;
  for (Acceptor& acceptor : acceptors) acceptor.close(ignored);
  close_all(true);
  ticker.cancel();
}

void Server::Impl::close_all(bool only_idle) {
  for (const auto& connection : connections)
    if (connection->idle || !only_idle) connection->close();
}

void Server::Impl::run() {
  for (;;) {
    try {
      io.run();
      return;
    } catch (const std::exception& error) {   // out of memory for one connection does not affect others
      spdlog::error("a connection was lost: {}", error.what());
    }
  }
}

Server::Server(ServerOptions options, Cache& cache) : impl_(std::make_unique<Impl>(std::move(options), cache)) {}

Server::~Server() { stop(); }

void Server::start() {
  impl_->listen();
  for (Acceptor& acceptor : impl_->acceptors) asio::co_spawn(impl_->io, impl_->accept(acceptor), [](std::exception_ptr) {});
  asio::co_spawn(impl_->io, impl_->tick(), [](std::exception_ptr) {});
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

std::uint16_t Server::port() const { return impl_->port; }

void Server::set_engine(engine::Engine& engine) { impl_->service.engine.store(&engine); }

void Server::set_api_keys(const std::vector<protocol::ApiKey>& keys) {
  const ServerOptions& options = impl_->service.options;
  if (keys.empty() != options.api_keys.empty()) throw FieldError("api_keys", "cannot be enabled or disabled while the server runs");
  asio::post(impl_->io, [service = &impl_->service, tenants = protocol::Tenants(keys, options.share_across_tenants)] { service->tenants = tenants; });
}

void Server::stop() {
  const std::lock_guard lock(impl_->stop_mutex);
  if (!impl_->thread.joinable()) return;
  asio::post(impl_->io, [impl = impl_.get()] { impl->drain(); });
  impl_->thread.join();
}

}   // namespace tensorcache::server
