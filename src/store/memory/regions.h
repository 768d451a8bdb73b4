// Buffers out of a few reserved regions of address space. A mapping for each buffer would reach
// vm.max_map_count (65,530) in a large cache, from where on munmap() fails. Here a buffer's pages
// go back with MADV_DONTNEED, which splits no mapping; a region is unmapped once it is empty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/core/mutex.h"
#include "store/memory/budget.h"

namespace tensorcache::memory {

enum class PageSize : bool { kSmall, kHuge };

// First fit by address; free neighbours are one. Address space may be fragmented, memory is not: a
// free granule holds no pages. Where no region has room another one is reserved.
// THREADS: all members from any thread.
class Regions {
 public:
  // Sizes are multiples of `granule_bytes`. kSmall: buffers come faulted in. kHuge: huge pages are
  // asked for, which come when they are written.
  Regions(Budget& budget, std::size_t granule_bytes, std::size_t most_region_bytes, PageSize pages);
  ~Regions();
  Regions(const Regions&) = delete;
  Regions& operator=(const Regions&) = delete;

  // A buffer that the caller has charged. Null: the budget has no room for the account of another
  // region, kAccountBytes for most. Throws std::bad_alloc where the system has no memory.
  [[nodiscard]] std::byte* take(std::size_t bytes);
  // False: the system did not take the pages back, and the buffer stays the caller's.
  [[nodiscard]] bool give_back(std::byte* buffer, std::size_t bytes);

  static constexpr std::uint64_t kAccountBytes = 16 << 10;

 private:
  struct Region {
    std::byte* mapped;
    std::byte* begin;   // of the first granule
    std::size_t mapped_bytes, granules;
    std::size_t free;           // granules
    std::size_t longest_free;   // granules in a row; at most so many
    std::size_t first_free;     // none before it
    std::size_t ever_taken;     // none from here on was
    std::uint64_t charge_bytes;
    std::unique_ptr<std::uint64_t[]> taken;   // a bit for each granule

    [[nodiscard]] std::size_t next(bool is_taken, std::size_t from, std::size_t end) const;
    [[nodiscard]] std::size_t run_begin(std::size_t at) const;
    [[nodiscard]] std::size_t find(std::size_t count);   // `granules`: no such run
    void set(std::size_t at, std::size_t count, bool is_taken);
  };
  [[nodiscard]] std::byte* take_from(Region& region, std::size_t count);
  [[nodiscard]] Region* reserve_locked(std::size_t bytes) TC_REQUIRES(mutex_);
  [[nodiscard]] Region map_region(std::size_t bytes) const;
  [[nodiscard]] bool unmap(Region& region);

  Budget& budget_;
  const std::size_t granule_bytes_, most_region_bytes_;
  const PageSize pages_;
  Mutex mutex_;
  std::vector<Region> regions_ TC_GUARDED_BY(mutex_);   // by address
};

}   // namespace tensorcache::memory
