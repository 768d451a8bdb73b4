// The target of callbacks that may arrive late: it is called while open, and not after close().
#pragma once

#include <memory>
#include <utility>

#include "base/core/mutex.h"

namespace tensorcache {

//   CallbackTarget<Engine*> target(this);
//   cache.load(keys, timeout, [ref = target.ref()] {
//     ref.call([](Engine* engine) { engine->go_on(); });
//   });
//   target.close();   // before the engine is destroyed
//
// `Pointer` points to the target, with or without owning it.
// THREADS: a Ref's members any; the target's own members one at a time.
template <class Pointer>
class CallbackTarget {
  struct State {
    explicit State(Pointer to) : pointer(std::move(to)) {}
    Mutex mutex;
    Pointer pointer TC_GUARDED_BY(mutex);
  };

 public:
  // The reference that a callback holds. It may outlive the target.
  class Ref {
   public:
    // Calls `function` with the pointer; does nothing after close(). REQUIRES: `function` does not
    // close the target.
    template <class Function>
    void call(const Function& function) const {
      const MutexLock lock(state_->mutex);
      if (state_->pointer) function(state_->pointer);
    }

   private:
    friend class CallbackTarget;
    explicit Ref(std::shared_ptr<State> state) : state_(std::move(state)) {}
    std::shared_ptr<State> state_;
  };

  explicit CallbackTarget(Pointer to) : state_(std::make_shared<State>(std::move(to))) {}
  ~CallbackTarget() { close(); }
  CallbackTarget(const CallbackTarget&) = delete;
  CallbackTarget& operator=(const CallbackTarget&) = delete;

  [[nodiscard]] Ref ref() const { return Ref(state_); }

  // Waits for a running call to return; no call starts afterwards.
  void close() {
    Pointer released{};   // destroyed after the mutex is released
    const MutexLock lock(state_->mutex);
    std::swap(released, state_->pointer);
  }

 private:
  const std::shared_ptr<State> state_;
};

}   // namespace tensorcache
