#include "store/memory/regions.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "store/memory/poison.h"

namespace tensorcache::memory {

namespace {

constexpr std::size_t kWordBits = 64;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}   // namespace

Regions::Regions(Budget& budget, std::size_t granule_bytes, std::size_t most_region_bytes, PageSize pages)
    : budget_(budget), granule_bytes_(granule_bytes), most_region_bytes_(most_region_bytes), pages_(pages) {}

Regions::~Regions() {
  for (Region& region : regions_) static_cast<void>(unmap(region));
}

// The first granule from `from` on that is taken, or is not; `end` if there is none before it.
std::size_t Regions::Region::next(bool is_taken, std::size_t from, std::size_t end) const {
  const std::uint64_t flip = is_taken ? 0 : ~std::uint64_t{0};
  for (std::size_t at = from; at < end; at = (at / kWordBits + 1) * kWordBits) {
    const std::uint64_t bits = (taken[at / kWordBits] ^ flip) >> at % kWordBits;
    if (bits != 0) return std::min(at + static_cast<std::size_t>(std::countr_zero(bits)), end);
  }
  return end;
}

// Of the free granules in a row that end at `at`.
std::size_t Regions::Region::run_begin(std::size_t at) const {
  while (at > 0) {
    const std::size_t word = (at - 1) / kWordBits, used_bits = at - word * kWordBits;
    const std::uint64_t bits = taken[word] << (kWordBits - used_bits);
    if (bits != 0) return at - static_cast<std::size_t>(std::countl_zero(bits));
    at = word * kWordBits;
  }
  return 0;
}

std::size_t Regions::Region::find(std::size_t count) {
  first_free = next(false, first_free, granules);
  std::size_t longest = 0;
  for (std::size_t at = first_free; at < granules;) {
    const std::size_t end = next(true, at, std::min(granules, at + count));
    if (end - at >= count) return at;
    longest = std::max(longest, end - at);
    at = next(false, end, granules);
  }
  longest_free = longest;
  return granules;
}

void Regions::Region::set(std::size_t at, std::size_t count, bool is_taken) {
  for (const std::size_t end = at + count; at < end;) {
    const std::size_t bits = std::min(kWordBits - at % kWordBits, end - at);
    const std::uint64_t mask = ~std::uint64_t{0} >> (kWordBits - bits) << at % kWordBits;
    is_taken ? taken[at / kWordBits] |= mask : taken[at / kWordBits] &= ~mask;
    at += bits;
  }
}

std::byte* Regions::take_from(Region& region, std::size_t count) {
  if (region.longest_free < count) return nullptr;
  const std::size_t at = region.find(count);
  if (at == region.granules) return nullptr;
  region.set(at, count, true);
  region.free -= count;
  region.ever_taken = std::max(region.ever_taken, at + count);
  return region.begin + at * granule_bytes_;
}

std::byte* Regions::take(std::size_t bytes) {
  std::byte* buffer = nullptr;
  {
    const MutexLock lock(mutex_);
    for (auto region = regions_.begin(); region != regions_.end() && buffer == nullptr; ++region) {
      buffer = take_from(*region, bytes / granule_bytes_);
    }
    if (buffer == nullptr) {
      Region* const fresh = reserve_locked(bytes);
      if (fresh == nullptr) return nullptr;
      buffer = take_from(*fresh, bytes / granule_bytes_);
    }
  }
  unpoison(buffer, bytes);
#ifdef MADV_POPULATE_WRITE
  // One call is cheaper than a fault for each page. Advice: before Linux 5.14 the pages come one by
  // one.
  if (pages_ == PageSize::kSmall) static_cast<void>(madvise(buffer, bytes, MADV_POPULATE_WRITE));
#endif
  return buffer;
}

bool Regions::give_back(std::byte* buffer, std::size_t bytes) {
  if (madvise(buffer, bytes, MADV_DONTNEED) != 0) return false;
  const MutexLock lock(mutex_);
  const auto after =
      std::upper_bound(regions_.begin(), regions_.end(), buffer, [](const std::byte* at, const Region& region) { return at < region.begin; });
  Region& region = *(after - 1);
  const std::size_t at = static_cast<std::size_t>(buffer - region.begin) / granule_bytes_, count = bytes / granule_bytes_;
  poison(buffer, bytes);
  region.set(at, count, false);
  region.free += count;
  region.first_free = std::min(region.first_free, at);
  const std::size_t begin = region.run_begin(at), end = region.next(true, at + count, region.granules);
  region.longest_free = std::max(region.longest_free, end - begin);
  if (region.free == region.granules && unmap(region)) {
    budget_.give_back(region.charge_bytes);
    regions_.erase(after - 1);
  }
  return true;
}

// False: it stays, without pages, for what comes next.
bool Regions::unmap(Region& region) {
  unpoison(region.begin, region.ever_taken * granule_bytes_);
  return munmap(region.mapped, region.mapped_bytes) == 0;
}

// As large as the cache may become, so that regions are few. Null: no room for its account. That of
// the first is part of an empty cache.
Regions::Region* Regions::reserve_locked(std::size_t bytes) {
  regions_.reserve(regions_.size() + 1);
  const std::size_t capacity = std::min<std::uint64_t>(budget_.capacity(), most_region_bytes_);
  const std::size_t wanted = std::bit_ceil((capacity + granule_bytes_ - 1) / granule_bytes_) * granule_bytes_;
  Region region = map_region(std::max(wanted, bytes));
  if (region.mapped == MAP_FAILED) region = map_region(bytes);
  if (region.mapped == MAP_FAILED) throw std::bad_alloc();
  const std::size_t words = (region.granules + kWordBits - 1) / kWordBits;
  const std::uint64_t charge = regions_.empty() ? 0 : words * sizeof(std::uint64_t) + 2 * sizeof(Region);
  const bool has_room = budget_.try_charge(charge);
  if (has_room) region.taken.reset(new (std::nothrow) std::uint64_t[words]());
  if (region.taken == nullptr) {
    if (has_room) budget_.give_back(charge);
    munmap(region.mapped, region.mapped_bytes);
    if (has_room) throw std::bad_alloc();
    return nullptr;
  }
  region.charge_bytes = charge;
  const auto at = std::upper_bound(regions_.begin(), regions_.end(), region.begin,
                                   [](const std::byte* begin, const Region& other) { return begin < other.begin; });
  return &*regions_.insert(at, std::move(region));
}

Regions::Region Regions::map_region(std::size_t bytes) const {
  // A huge page lies on a multiple of its size; the kernel may not see to that.
  const std::size_t slack_bytes = pages_ == PageSize::kHuge ? kHugePageBytes : 0;
  Region region{};
  region.mapped_bytes = bytes + slack_bytes;
  void* const mapped = mmap(nullptr, region.mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  region.mapped = static_cast<std::byte*>(mapped);
  if (mapped == MAP_FAILED) return region;
  // For the whole region: advice for a part would split the mapping. A huge page below a small
  // buffer would take more than it is charged for.
  static_cast<void>(madvise(mapped, region.mapped_bytes, pages_ == PageSize::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
  const std::size_t into_page = reinterpret_cast<std::uintptr_t>(mapped) % kHugePageBytes;
  region.begin = region.mapped + (slack_bytes == 0 || into_page == 0 ? 0 : kHugePageBytes - into_page);
  region.granules = region.free = region.longest_free = bytes / granule_bytes_;
  return region;
}

}   // namespace tensorcache::memory
