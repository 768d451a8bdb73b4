#include "store/memory/epochs.h"

#include <thread>

namespace tensorcache::memory {

// The first time in a slot, and where another thread has it just now.
Epochs::Slot& Epochs::enter_any(std::size_t at) {
  for (std::size_t tries = 1;; ++tries) {
    Slot& slot = slots_[at];
    std::size_t used = used_slots_.load();
    while (used <= at && !used_slots_.compare_exchange_weak(used, at + 1)) {
    }
    if (try_take(slot)) return slot;
    at = (at + 1) % kSlots;
    if (tries % kSlots == 0) std::this_thread::yield();
  }
}

}   // namespace tensorcache::memory
