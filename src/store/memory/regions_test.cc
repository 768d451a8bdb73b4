// The linker leads the tier's system calls to the functions here (CMakeLists.txt), which count them
// and can make them fail.
#include "store/memory/regions.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tensorcache/cache.h"
#include "store/memory/buffer_pool.h"
#include "testing/store/memory.h"

namespace {

std::atomic<bool> mmap_fails{false}, munmap_fails{false}, pages_stay{false}, populates{true};
std::atomic<std::uint64_t> reserved_bytes{0}, reservations{0};

}   // namespace

extern "C" {
void* __real_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset);
int __real_munmap(void* at, std::size_t size);
int __real_madvise(void* at, std::size_t size, int advice);

void* __wrap_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset) {
  void* const memory = mmap_fails ? MAP_FAILED : __real_mmap(at, size, protection, flags, file, offset);
  if (memory != MAP_FAILED) {
    reserved_bytes += size;
    ++reservations;
  }
  return memory;
}
int __wrap_munmap(void* at, std::size_t size) {
  const int error = munmap_fails ? -1 : __real_munmap(at, size);
  if (error == 0) reserved_bytes -= size;
  return error;
}
int __wrap_madvise(void* at, std::size_t size, int advice) {
  if (advice == MADV_DONTNEED && pages_stay) return -1;
  if (advice == MADV_POPULATE_WRITE && !populates) return 0;
  return __real_madvise(at, size, advice);
}
}

namespace tensorcache::memory {
namespace {

using namespace tensorcache::testing;

constexpr std::size_t kPage = 4096, kMiB = std::size_t{1} << 20;

std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) ++count;
  return count;
}

std::size_t resident_pages(std::byte* buffer, std::size_t bytes) {
  std::vector<unsigned char> pages(bytes / kPage);
  EXPECT_EQ(mincore(buffer, bytes, pages.data()), 0);
  std::size_t count = 0;
  for (const unsigned char page : pages) count += page & 1;
  return count;
}

class RegionsTest : public ::testing::Test {
 protected:
  void TearDown() override { mmap_fails = munmap_fails = pages_stay = false, populates = true; }

  Budget budget_{64 * kMiB};
  Regions regions_{budget_, kPage, 16 * kMiB, PageSize::kSmall};
};

TEST_F(RegionsTest, FreeNeighboursAreOne) {
  std::vector<std::byte*> buffers;
  for (int i = 0; i < 16; ++i) buffers.push_back(regions_.take(kMiB));
  const std::uint64_t reserved = reserved_bytes;
  for (const std::size_t i : {5, 7, 6}) ASSERT_TRUE(regions_.give_back(buffers[i], kMiB));
  EXPECT_EQ(regions_.take(3 * kMiB), buffers[5]);
  EXPECT_EQ(reserved_bytes, reserved);
  std::byte* const other = regions_.take(kPage);
  EXPECT_GT(reserved_bytes, reserved) << "there was no room for it";
  EXPECT_TRUE(regions_.give_back(other, kPage));
  EXPECT_EQ(reserved_bytes, reserved) << "an empty region goes";
}

TEST_F(RegionsTest, PagesGoBackToTheSystem) {
  std::byte* const kept = regions_.take(kMiB);
  std::byte* const buffer = regions_.take(kMiB);
  std::memset(buffer, 1, kMiB);
  EXPECT_EQ(resident_pages(buffer, kMiB), kMiB / kPage);
  ASSERT_TRUE(regions_.give_back(buffer, kMiB));
  EXPECT_EQ(resident_pages(buffer, kMiB), 0u);
  EXPECT_TRUE(regions_.give_back(kept, kMiB));
}

TEST_F(RegionsTest, ARegionThatCannotBeUnmappedIsUsedAgain) {
  std::byte* buffer = regions_.take(kMiB);
  munmap_fails = true;
  ASSERT_TRUE(regions_.give_back(buffer, kMiB)) << "its pages went back all the same";
  const std::uint64_t before = reservations;
  buffer = regions_.take(kMiB);
  EXPECT_EQ(reservations, before);
  munmap_fails = false;
  EXPECT_TRUE(regions_.give_back(buffer, kMiB));
}

TEST_F(RegionsTest, EveryPlaceIsTakenOnce) {
  populates = false;
  std::mt19937_64 random(1);
  struct Buffer {
    std::byte* at;
    std::size_t bytes;
  };
  std::vector<Buffer> held;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    if (held.size() > 300) {
      std::swap(held[random() % held.size()], held.back());
      const auto [at, bytes] = held.back();
      std::uint64_t first = 0, last = 0;
      std::memcpy(&first, at, sizeof first);
      std::memcpy(&last, at + bytes - sizeof last, sizeof last);
      ASSERT_EQ(first, bytes);
      ASSERT_EQ(last, reinterpret_cast<std::uintptr_t>(at));
      ASSERT_TRUE(regions_.give_back(at, bytes));
      held.pop_back();
    }
    const std::uint64_t bytes = (1 + random() % 100) * kPage;
    std::byte* const at = regions_.take(bytes);
    const auto address = reinterpret_cast<std::uintptr_t>(at);
    std::memcpy(at, &bytes, sizeof bytes);
    std::memcpy(at + bytes - sizeof address, &address, sizeof address);
    held.push_back({at, bytes});
  }
  EXPECT_LT(reserved_bytes, 128 * kMiB) << "for 300 buffers of 200 KiB";
  for (const auto& [at, bytes] : held) EXPECT_TRUE(regions_.give_back(at, bytes));
  EXPECT_EQ(budget_.used(), 0u) << "the accounts of the regions too";
}

class PooledValues : public RegionsTest {};

// vm.max_map_count is 65,530: with a mapping for each value munmap() fails from there on.
TEST_F(PooledValues, ManyNeedFewMappings) {
  populates = false;
  constexpr std::uint64_t kCapacity = std::uint64_t{24} << 30;
  const std::size_t before = mappings();
  Cache cache({.capacity_bytes = kCapacity});
  std::mt19937_64 random(1);
  for (std::uint64_t i = 0; i < 250'000; ++i) {
    Reservation draft = cache.reserve(key_of(i), 128 * 1024 + random() % (256 * 1024));
    ASSERT_TRUE(draft);
    ASSERT_EQ(cache.commit(std::move(draft)), PutStatus::kStored);
    if (i % 3 == 0) (void)cache.get(key_of(i - random() % (i / 2 + 1)));   // so that eviction leaves holes
  }
  EXPECT_GT(entries(cache.stats()), 80'000u);
  EXPECT_LT(mappings(), before + 500);
  EXPECT_LT(reserved_bytes, 2 * kCapacity);
  cache.clear();
  EXPECT_EQ(cache.stats().used_bytes, 0u);
  EXPECT_EQ(reserved_bytes, 0u);
}

TEST_F(PooledValues, StayChargedWhilePagesDoNotGoBack) {
  constexpr std::uint64_t kCapacity = 16 * kMiB;
  Cache cache({.capacity_bytes = kCapacity});
  const std::string value(3 * kMiB, 'v');
  for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(cache.put(key_of(i), value), PutStatus::kStored);
  pages_stay = true;
  cache.clear();
  EXPECT_GE(cache.stats().used_bytes, 15 * kMiB);
  for (std::uint64_t i = 10; i < 30; ++i) ASSERT_EQ(cache.put(key_of(i), value), PutStatus::kStored) << "buffers of that size are idle";
  EXPECT_EQ(cache.put(key_of(40), std::string(4 * kMiB, 'w')), PutStatus::kNoSpace);
  EXPECT_LE(cache.stats().peak_bytes, kCapacity);
  pages_stay = false;
  EXPECT_EQ(cache.put(key_of(40), std::string(4 * kMiB, 'w')), PutStatus::kStored);
  cache.clear();
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

TEST_F(PooledValues, WithoutAddressSpaceThereIsBadAlloc) {
  Cache cache({.capacity_bytes = 64 * kMiB});
  const std::string value(3 * kMiB, 'v');
  mmap_fails = true;
  EXPECT_THROW((void)cache.put(key_of(1), value), std::bad_alloc);
  EXPECT_EQ(cache.stats().used_bytes, 0u);
  mmap_fails = false;
  EXPECT_EQ(cache.put(key_of(1), value), PutStatus::kStored);
  EXPECT_EQ(cache.get(key_of(1)).bytes().size(), value.size());
}

// Huge pages for one value each would be another kind of mapping between the others.
TEST_F(PooledValues, OfAllSizesNeedFewMappings) {
  populates = false;
  const std::size_t before = mappings();
  Cache cache({.capacity_bytes = std::uint64_t{32} << 30});
  std::mt19937_64 random(1);
  for (std::uint64_t i = 0; i < 30'000; ++i) {
    Reservation draft = cache.reserve(key_of(i), random() % 10 == 0 ? 8 * kMiB + random() % (32 * kMiB) : 128 * 1024 + random() % kMiB);
    ASSERT_TRUE(draft);
    ASSERT_EQ(cache.commit(std::move(draft)), PutStatus::kStored);
  }
  EXPECT_LT(mappings(), before + 500);
  EXPECT_LT(reserved_bytes, std::uint64_t{64} << 30);
}

}   // namespace
}   // namespace tensorcache::memory
