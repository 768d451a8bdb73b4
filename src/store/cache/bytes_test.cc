// Counts every byte that the tier really takes - blocks, tables, buffers, with what malloc adds -
// while it is written to, evicted from and resized. The linker leads the tier's calls to these
// functions (CMakeLists.txt).
#include <malloc.h>
#include <sys/mman.h>

#include <random>
#include <thread>

#include "testing/store/cache.h"
#include "tensorcache/cache.h"

namespace {

std::atomic<std::int64_t> allocated{0}, most_above{0}, limit{0};
std::atomic<std::uint64_t> allocations{0};

void took(std::int64_t bytes) {
  const std::int64_t above = allocated.fetch_add(bytes) + bytes - limit.load();
  ++allocations;
  std::int64_t most = most_above.load();
  while (above > most && !most_above.compare_exchange_weak(most, above)) {
  }
}

// The eight bytes are malloc's own, before each block.
std::int64_t real_bytes(void* block) { return static_cast<std::int64_t>(malloc_usable_size(block) + 8); }

}   // namespace

extern "C" {
int __real_posix_memalign(void** block, std::size_t alignment, std::size_t size);
void __real_free(void* block);
void* __real_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset);
int __real_madvise(void* at, std::size_t size, int advice);

int __wrap_posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  const int error = __real_posix_memalign(block, alignment, size);
  if (error == 0) took(real_bytes(*block));
  return error;
}
void __wrap_free(void* block) {
  if (block != nullptr) allocated -= real_bytes(block);
  __real_free(block);
}
// What is only reserved takes no memory. Its pages come when a buffer is taken, and go with it.
void* __wrap_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset) {
  void* memory = __real_mmap(at, size, protection, flags, file, offset);
  if (memory != MAP_FAILED && (flags & MAP_NORESERVE) == 0) took(static_cast<std::int64_t>(size));
  return memory;
}
int __wrap_madvise(void* at, std::size_t size, int advice) {
  if (advice == MADV_POPULATE_WRITE) took(static_cast<std::int64_t>(size));
  const int error = __real_madvise(at, size, advice);
  if (advice == MADV_DONTNEED && error == 0) allocated -= static_cast<std::int64_t>(size);
  return error;
}
}

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

TEST(RealBytes, NeverPassTheCapacity) {
  constexpr std::int64_t kLarge = 48 << 20, kSmall = 6 << 20;
  limit = kLarge;
  Cache cache({.capacity_bytes = kLarge});
  std::vector<Key> keys;
  for (std::uint64_t i = 0; i < 60'000; ++i) keys.push_back(key_of(i));
  const std::string value(400'000, 'v');
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      while (!stop) {
        const Key& key = keys[random() % keys.size()];
        // Mostly small, some beside the pool's smallest, a few in buffers of their own.
        const std::size_t kind = random() % 100;
        const std::size_t bytes = kind < 90 ? random() % 2000 : kind < 98 ? random() % 130'000 : random() % value.size();
        if (!cache.get(key)) (void)cache.put(key, std::string_view(value).substr(0, bytes));
        if (kind == 50) cache.remove(key);
      }
    });
  }
  const auto saw_little = [&] { return allocations <= 5'000 || cache.stats().evictions <= 2'000; };   // a slow machine sees it later
  for (int round = 0; round < 12 || (saw_little() && round < 500); ++round) {
    std::this_thread::sleep_for(milliseconds(60));
    const std::int64_t capacity = round % 2 == 0 ? kSmall : kLarge;
    if (capacity == kLarge) limit = kLarge;
    cache.resize(static_cast<std::uint64_t>(capacity));
    // What somebody held just then goes when it is let go.
    while (cache.stats().used_bytes > static_cast<std::uint64_t>(capacity)) std::this_thread::yield();
    limit = capacity;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most_above, 0) << "bytes above the capacity";
  EXPECT_GT(allocations, 5'000u);
  EXPECT_GT(cache.stats().evictions, 2'000u);
  EXPECT_LE(allocated, static_cast<std::int64_t>(cache.stats().used_bytes));
  cache.clear();
  EXPECT_EQ(allocated, 0) << "what was given up was given back";
}

}   // namespace
}   // namespace tensorcache::cache
