#include "tier/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#endif

namespace tensorcache::detail {

namespace {

// Of the capacity, what may lie idle: enough for a burst of drops, small against what a cache is for.
constexpr std::uint64_t kIdleShare = 16;

// From here on huge pages fill most of a buffer, in a seventh of the time that small ones take; and not all of it may be written.
constexpr std::size_t kHugeFromBytes = std::size_t{8} << 20;

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
  const std::lock_guard lock(mutex_);
  Idle* idle = idle_[index];
  if (idle == nullptr) return nullptr;
  idle_[index] = idle->next;
  idle_bytes_ -= buffer_bytes;
  ASAN_UNPOISON_MEMORY_REGION(idle, buffer_bytes);
  return reinterpret_cast<std::byte*>(idle);
}

std::byte* BufferPool::map(std::size_t buffer_bytes) {
  // Small ones populated: the caller writes all of it at once, and one call is cheaper than a fault for each page.
  const bool huge = buffer_bytes >= kHugeFromBytes;
  void* memory = mmap(nullptr, buffer_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (huge ? 0 : MAP_POPULATE), -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (huge) static_cast<void>(madvise(memory, buffer_bytes, MADV_HUGEPAGE));   // advice: without it the pages come one by one
  return static_cast<std::byte*>(memory);
}

void BufferPool::put(std::byte* buffer, std::size_t buffer_bytes) {
  const std::size_t index = size_index(buffer_bytes);
  if (index < kSizes) {
    const std::lock_guard lock(mutex_);
    // Under the lock: whoever made the budget smaller takes it next, and finds what is idle. One is always kept, so that a small cache of
    // large values reuses them too.
    if (!budget_.over() && (idle_bytes_ == 0 || idle_bytes_ + buffer_bytes <= budget_.capacity() / kIdleShare)) {
      Idle* idle = new (buffer) Idle{idle_[index], buffer_bytes};
      idle_[index] = idle;
      idle_bytes_ += buffer_bytes;
      // What a handle should have pinned shows up as an error there.
      ASAN_POISON_MEMORY_REGION(buffer + sizeof(Idle), buffer_bytes - sizeof(Idle));
      return;
    }
  }
  munmap(buffer, buffer_bytes);
  budget_.give_back(buffer_bytes);
}

bool BufferPool::release(std::uint64_t wanted_bytes) {
  std::uint64_t released = 0;
  const std::lock_guard lock(mutex_);
  for (std::size_t i = kSizes; i-- > 0 && idle_bytes_ > 0 && released < wanted_bytes;) {
    while (idle_[i] != nullptr && released < wanted_bytes) {
      Idle* idle = idle_[i];
      idle_[i] = idle->next;
      const std::size_t bytes = idle->buffer_bytes;
      ASAN_UNPOISON_MEMORY_REGION(idle, bytes);
      munmap(idle, bytes);
      idle_bytes_ -= bytes;
      released += bytes;
      budget_.give_back(bytes);
    }
  }
  return released > 0;
}

}   // namespace tensorcache::detail
