#include "store/memory/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <new>

#include "store/memory/poison.h"

namespace tensorcache::memory {

namespace {

// Of the capacity, what may lie idle: enough for a burst of drops, small against what a cache is
// for.
constexpr std::uint64_t kIdleShare = 16;

constexpr int kSmallestLog2 = std::bit_width(BufferPool::kSmallestBytes) - 1;

std::size_t step_bytes(std::size_t size) { return std::max<std::size_t>(std::bit_floor(size) / 32, 1); }

}   // namespace

// Lies in the first bytes of an idle buffer.
struct BufferPool::Idle {
  Idle* next;
  std::size_t buffer_bytes;
};

std::size_t BufferPool::rounded(std::size_t value_bytes) {
  if (value_bytes <= kSmallestBytes) return kSmallestBytes;
  const std::size_t step = step_bytes(value_bytes);
  return (value_bytes + step - 1) / step * step;
}

std::size_t BufferPool::size_index(std::size_t buffer_bytes) {
  const auto doublings = static_cast<std::size_t>(std::bit_width(buffer_bytes) - 1 - kSmallestLog2);
  return doublings * kStepsPerDoubling + buffer_bytes / step_bytes(buffer_bytes) - kStepsPerDoubling;
}

std::byte* BufferPool::take(std::size_t buffer_bytes) {
  const std::size_t index = size_index(buffer_bytes);
  if (index >= kSizes) return nullptr;
  const MutexLock lock(mutex_);
  Idle* idle = idle_[index];
  if (idle == nullptr) return nullptr;
  idle_[index] = idle->next;
  idle_bytes_ -= buffer_bytes;
  unpoison(idle, buffer_bytes);
  return reinterpret_cast<std::byte*>(idle);
}

void BufferPool::push_idle_locked(std::byte* buffer, std::size_t buffer_bytes) {
  const std::size_t index = size_index(buffer_bytes);
  idle_[index] = new (buffer) Idle{idle_[index], buffer_bytes};
  idle_bytes_ += buffer_bytes;
  poison(buffer + sizeof(Idle), buffer_bytes - sizeof(Idle));   // what a handle should have pinned shows up as an error there
}

void BufferPool::put(std::byte* buffer, std::size_t buffer_bytes) {
  if (size_index(buffer_bytes) < kSizes) {
    const MutexLock lock(mutex_);
    // Under the lock: whoever made the budget smaller takes it next, and finds what is idle. One is
    // always kept, so that a small cache of large values reuses them too.
    if (!budget_.over() && (idle_bytes_ == 0 || idle_bytes_ + buffer_bytes <= budget_.capacity() / kIdleShare)) {
      push_idle_locked(buffer, buffer_bytes);
      return;
    }
  }
  if (give_back(buffer, buffer_bytes)) return;
  const MutexLock lock(mutex_);
  push_idle_locked(buffer, buffer_bytes);   // still taken, and still charged
}

bool BufferPool::give_back(std::byte* buffer, std::size_t buffer_bytes) {
  if (!regions(buffer_bytes).give_back(buffer, buffer_bytes)) return false;
  budget_.give_back(buffer_bytes);
  return true;
}

bool BufferPool::release(std::uint64_t wanted_bytes) {
  std::uint64_t released = 0;
  const MutexLock lock(mutex_);
  for (std::size_t i = kSizes; i-- > 0 && idle_bytes_ > 0 && released < wanted_bytes;) {
    while (idle_[i] != nullptr && released < wanted_bytes) {
      Idle* idle = idle_[i];
      const std::size_t bytes = idle->buffer_bytes;
      Idle* const next = idle->next;
      unpoison(idle, bytes);
      if (!give_back(reinterpret_cast<std::byte*>(idle), bytes)) return released > 0;
      idle_[i] = next;
      idle_bytes_ -= bytes;
      released += bytes;
    }
  }
  return released > 0;
}

}   // namespace tensorcache::memory
