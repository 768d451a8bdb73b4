// Replaces operator new and posix_memalign of a test program, so that its n-th allocation fails.
// For one file of a program only.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

namespace {

thread_local long allocations_left = -1;   // negative: all succeed
// The same for all threads together but those that set `is_test_thread`.
std::atomic<long> others_allocations_left{-1};
thread_local bool is_test_thread = false;

bool may_allocate() {
  if (!is_test_thread && others_allocations_left.load() >= 0 && others_allocations_left-- == 0) return false;
  if (allocations_left < 0) return true;
  if (allocations_left == 0) return false;
  --allocations_left;
  return true;
}

void* allocate(std::size_t size, std::size_t alignment) {
  return may_allocate() ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment) : nullptr;   // not by way of the below
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Whether `operation` needed more than `allowed` allocations. All succeed before and after.
template <class Operation>
bool runs_out(long allowed, const Operation& operation) {
  bool threw = false;
  allocations_left = allowed;
  try {
    operation();
  } catch (const std::bad_alloc&) {
    threw = true;
  }
  const bool none_left = allocations_left == 0;
  allocations_left = -1;
  return threw || none_left;
}

constexpr std::size_t kDefault = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

}   // namespace

extern "C" int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  *block = may_allocate() ? ::memalign(alignment, size) : nullptr;
  return *block == nullptr ? ENOMEM : 0;
}
void* operator new(std::size_t size) { return or_throw(allocate(size, kDefault)); }
void* operator new[](std::size_t size) { return or_throw(allocate(size, kDefault)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, kDefault); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, kDefault); }
void* operator new(std::size_t size, std::align_val_t alignment) { return or_throw(allocate(size, static_cast<std::size_t>(alignment))); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
