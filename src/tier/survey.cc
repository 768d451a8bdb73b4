// What is stored: counts and lists.
#include <algorithm>
#include <utility>

#include "tier/memory_tier.h"

namespace tensorcache::detail {

Stats MemoryTier::stats() const {
  Stats stats;
  stats.capacity_bytes = budget_.capacity();
  stats.used_bytes = budget_.used();
  stats.peak_bytes = budget_.peak();
  for (const Shard& shard : index_.shards()) {
    const std::lock_guard lock(shard.mutex);
    stats.hits += shard.hits;
    stats.misses += shard.misses;
  }
  stats.puts = puts_.load();
  stats.rejected_puts = rejected_puts_.load();
  stats.evictions = evictions_.load();
  stats.expirations = expirations_.load();
  stats.removals = removals_.load();
  for (std::size_t i = 0; i < kKindCount; ++i) {
    stats.kinds[i] = {kinds_[i].entries.load(), kinds_[i].value_bytes.load(), kinds_[i].charged_bytes.load()};
  }
  return stats;
}

Stats MemoryTier::stats(std::uint64_t owner) const {
  Stats stats;
  stats.capacity_bytes = budget_.capacity();
  for (const Shard& shard : index_.shards()) {
    const std::lock_guard lock(shard.mutex);
    shard.for_each([&](const Entry& entry) {
      if (entry.owner != owner || is_expired(entry)) return;
      KindStats& kind = stats.kinds[static_cast<std::size_t>(entry.kind)];
      kind.entries += 1;
      kind.value_bytes += entry.value_bytes;
      kind.charged_bytes += entry.charge_bytes;
      stats.used_bytes += entry.charge_bytes;
    });
  }
  return stats;
}

std::vector<EntryInfo> MemoryTier::list(std::optional<std::uint64_t> owner, std::size_t limit) const {
  using Found = std::pair<std::uint64_t, EntryInfo>;
  const auto newer = [](const Found& a, const Found& b) { return a.first > b.first; };
  std::vector<Found> newest;   // a heap, the oldest on top, never longer than `limit`
  const auto now = clock_();
  for (const Shard& shard : index_.shards()) {
    const std::lock_guard lock(shard.mutex);
    shard.for_each([&](const Entry& entry) {
      if (limit == 0 || (owner && entry.owner != *owner) || entry.expired(now)) return;
      const std::uint64_t tick = entry.tick.load(std::memory_order_relaxed);
      if (newest.size() == limit) {
        if (tick < newest.front().first) return;
        std::pop_heap(newest.begin(), newest.end(), newer);
        newest.pop_back();
      }
      newest.emplace_back(tick, EntryInfo{entry.key, entry.kind, entry.owner, entry.value_bytes, entry.hits, entry.age(now), entry.chained});
      std::push_heap(newest.begin(), newest.end(), newer);
    });
  }
  std::sort_heap(newest.begin(), newest.end(), newer);
  std::vector<EntryInfo> infos;
  infos.reserve(newest.size());
  for (const Found& found : newest) infos.push_back(found.second);
  return infos;
}

}   // namespace tensorcache::detail
