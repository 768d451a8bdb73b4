// Takes entries out of the index for another reason than room: by key, by age, by what clear()
// selects. Entries chained behind them go too.
//
// THREADS: all members from any thread, with no lock held unless a member says otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "base/core/mutex.h"
#include "store/memory/evictor.h"
#include "store/memory/memory_state.h"
#include "tensorcache/types.h"

namespace tensorcache::memory {

class Remover {
 public:
  Remover(MemoryState& state, Evictor& evictor) : state_(state), evictor_(evictor) {}
  Remover(const Remover&) = delete;
  Remover& operator=(const Remover&) = delete;

  // Is told the key of each entry that was taken out with others, before the call returns, with no
  // shard's lock held. Must not throw or use the tier. May be empty.
  using OnRemoved = std::function<void(const Key&)>;
  bool remove(const Key& key, const OnRemoved& on_removed);
  // Removes what is stored under the key if it has expired.
  void expire(const Key& key);
  // In slices: what is put meanwhile may be cleared, too. One clear() or remove() of a chain at a
  // time.
  std::uint64_t clear(const Selection& what, const OnRemoved& on_removed);

  // Whether a walk took out the entry or one above it, however far, and has not come to what is
  // behind it yet. REQUIRES: a shard's lock.
  [[nodiscard]] bool is_being_forgotten(const Entry& entry) const;

 private:
  template <class Forget>
  std::uint64_t forget_in_slices(const Forget& forget, const OnRemoved& on_removed);
  template <class Doomed>
  std::uint64_t forget_where(const Doomed& doomed, const OnRemoved& on_removed);   // and their descendants

  MemoryState& state_;
  Evictor& evictor_;
  Mutex walking_;                         // before all other locks of the tier: one walk over the index for what is to go
  std::atomic<bool> forgetting_{false};   // a walk is going on: what is marked takes no more children, nor does what is behind it
};

}   // namespace tensorcache::memory
