// Work that would hold up the server's thread, done on another one.
#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "server/connection.h"

namespace tensorcache {

// Bodies from this size on are parsed elsewhere: a smaller one takes less than a few milliseconds.
inline constexpr std::size_t kLargeBodyBytes = 64u << 10;

// Runs `job` on `workers` and resumes with what it returned or threw. The job owns what it uses, or it lives as long as the pool: the coroutine may
// be destroyed before the job ends.
template <class Job>
[[nodiscard]] Task<std::invoke_result_t<Job&>> elsewhere(std::shared_ptr<Connection> connection, asio::thread_pool& workers, Job job) {
  struct State {
    std::optional<std::invoke_result_t<Job&>> result;
    std::exception_ptr failure;
    std::atomic<bool> done{false};
  };
  const auto state = std::make_shared<State>();
  const WakeupScope scope(connection);
  asio::post(workers, [state, wakeup = scope.wakeup(), job = std::move(job)]() mutable {
    try {
      state->result.emplace(job());
    } catch (...) {
      state->failure = std::current_exception();
    }
    {
      const Job over = std::move(job);
    }   // freed here, not on the server's thread
    state->done.store(true);
    wakeup->wake();
  });
  while (!state->done.load()) co_await connection->wait();
  if (state->failure) std::rethrow_exception(state->failure);
  co_return std::move(*state->result);
}

}   // namespace tensorcache
