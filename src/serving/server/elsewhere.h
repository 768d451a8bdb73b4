// Runs work that would block the server thread on a worker thread.
#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "serving/server/connection.h"

namespace tensorcache::server {

// Larger bodies are parsed on a worker thread; smaller ones take at most a few milliseconds.
inline constexpr std::size_t kLargeBodyBytes = 64u << 10;

// Runs `job` on `workers` and resumes with its result or exception. REQUIRES: the job owns what it
// uses, or it lives as long as the pool, because the coroutine may be destroyed before the job
// ends.
template <class Job>
[[nodiscard]] Task<std::invoke_result_t<Job&>> elsewhere(std::shared_ptr<Connection> connection, asio::thread_pool& workers, Job job) {
  struct State {
    std::optional<std::invoke_result_t<Job&>> result;
    std::exception_ptr failure;
    std::atomic<bool> done{false};
  };
  const auto state = std::make_shared<State>();
  const WakeupScope scope(connection);
  asio::post(workers, [state, wake = scope.wake(), job = std::move(job)]() mutable {
    try {
      state->result.emplace(job());
    } catch (...) {
      state->failure = std::current_exception();
    }
    {
      const Job over = std::move(job);
    }   // freed here, not on the server's thread
    state->done.store(true);
    wake();
  });
  while (!state->done.load()) co_await connection->wait();
  if (state->failure) std::rethrow_exception(state->failure);
  co_return std::move(*state->result);
}

// Holds a large object until the end of its scope, then frees it on one of `workers`.
template <class Object>
class FreedElsewhere {
 public:
  FreedElsewhere(asio::thread_pool& workers, bool large) : workers_(workers), large_(large) {}
  ~FreedElsewhere() {
    if (!object_) return;
    try {
      asio::post(workers_, [object = std::move(object_)]() mutable { object.reset(); });
    } catch (const std::bad_alloc&) {   // then freed here
    }
  }
  FreedElsewhere(const FreedElsewhere&) = delete;
  FreedElsewhere& operator=(const FreedElsewhere&) = delete;
  void hold(std::shared_ptr<Object> object) {
    if (large_) object_ = std::move(object);
  }

 private:
  asio::thread_pool& workers_;
  const bool large_;
  std::shared_ptr<Object> object_;
};

}   // namespace tensorcache::server
