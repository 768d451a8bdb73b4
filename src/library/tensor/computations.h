// Single-flight: at most one computation per key at a time, with its waiters.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <variant>

#include "store/cache/waits.h"
#include "library/tensor/value_format.h"

namespace tensorcache::tensor {

// Threads: all members from any thread. No lock is held while anything is computed.
class Computations {
  struct Flight;

 public:
  using Result = std::shared_ptr<const StoredValue>;
  // The right and the duty to compute a key. Its end without land() hands over to somebody who
  // waits.
  class Lead {
   public:
    Lead(Lead&&) noexcept = default;   // within its thread
    Lead& operator=(Lead&&) = delete;
    ~Lead();
    // Gives the result to all who wait.
    void land(Result result);
    // The key was removed since this began: the result must not be stored.
    [[nodiscard]] bool is_forgotten() const;

   private:
    friend class Computations;
    Lead(Computations* owner, const Key& key, std::shared_ptr<Flight> flight) : owner_(owner), key_(key), flight_(std::move(flight)) {}
    Computations* owner_;
    Key key_;
    std::shared_ptr<Flight> flight_;   // null: moved from, or landed
  };

  // Waits for the thread that computes the key. Its result, or the lead: no thread does, that one
  // failed, or it waits itself for the calling thread; in this last case both compute it. Throws
  // std::logic_error if that is the calling thread.
  [[nodiscard]] std::variant<Result, Lead> join(const Key& key);
  // Without waiting: nothing if somebody computes it.
  [[nodiscard]] std::optional<Lead> lead(const Key& key);
  // Results that are being computed are not to be stored.
  void forget(const Key& key);
  void forget_all();

 private:
  struct Flight : cache::Awaited {
    std::condition_variable changed;
    bool computing = true, forgotten = false, landed = false;
    std::size_t waiting = 0;
    Result result;
  };
  [[nodiscard]] Lead begin_locked(const Key& key);
  [[nodiscard]] Lead lead_locked(const Key& key, std::shared_ptr<Flight> flight);
  void end_locked(const Key& key, const std::shared_ptr<Flight>& flight);

  std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<Flight>> flights_;
};

}   // namespace tensorcache::tensor
