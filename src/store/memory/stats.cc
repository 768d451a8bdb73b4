// What is stored: counts and lists.
#include <algorithm>
#include <utility>

#include "store/memory/memory_tier.h"

namespace tensorcache::memory {

Stats MemoryTier::stats() const {
  Stats stats;
  stats.capacity_bytes = state_.budget.capacity();
  stats.used_bytes = state_.budget.used();
  stats.peak_bytes = state_.budget.peak();
  stats.hits = state_.epochs.hits();
  stats.misses = state_.epochs.misses();
  stats.rejected_puts = state_.rejected_puts.load();
  stats.policy_bytes = state_.order.policy_bytes();
  stats.idle_bytes = state_.memory.idle_bytes();
  for (const Shard& shard : state_.index.shards()) {
    const SpinLock lock(shard.mutex);
    const ShardCounts& counts = shard.counts;
    stats.table_bytes += shard.table_bytes();
    stats.puts += counts.puts;
    stats.evictions += counts.evictions;
    stats.expirations += counts.expirations;
    stats.removals += counts.removals;
    for (std::size_t i = 0; i < kKindCount; ++i) {
      stats.kinds[i].entries += counts.kinds[i].entries;
      stats.kinds[i].value_bytes += counts.kinds[i].value_bytes;
      stats.kinds[i].charged_bytes += counts.kinds[i].charged_bytes;
    }
  }
  return stats;
}

Stats MemoryTier::stats(std::uint64_t owner) const {
  Stats stats;
  stats.capacity_bytes = state_.budget.capacity();
  for (const Shard& shard : state_.index.shards()) {
    const SpinLock lock(shard.mutex);
    shard.for_each([&](const Entry& entry) {
      if (entry.owner != owner || state_.is_expired(entry)) return;
      KindStats& kind = stats.kinds[static_cast<std::size_t>(entry.kind)];
      kind.entries += 1;
      kind.value_bytes += entry.value_bytes();
      kind.charged_bytes += entry.charge_bytes;
      stats.used_bytes += entry.charge_bytes;
    });
  }
  return stats;
}

std::vector<EntryInfo> MemoryTier::list(std::optional<std::uint64_t> owner, std::size_t limit) {
  using Listed = std::pair<std::uint32_t, EntryInfo>;   // uses since it was used, which is right when the counter wraps around
  const auto newer = [](const Listed& a, const Listed& b) { return a.first < b.first; };
  std::vector<Listed> newest;   // a heap, the oldest on top, never longer than `limit`
  const auto now = state_.clock();
  const std::uint32_t ticks = state_.order.flush_all();
  for (const Shard& shard : state_.index.shards()) {
    const SpinLock lock(shard.mutex);
    shard.for_each([&](const Entry& entry) {
      if (limit == 0 || (owner && entry.owner != *owner) || (entry.has(kExpires) && entry.lifetime.over(now))) return;
      std::uint32_t ago = ticks - entry.last_use();
      if (static_cast<std::int32_t>(ago) < 0) ago = 0;   // used since
      if (newest.size() == limit) {
        if (ago > newest.front().first) return;
        std::pop_heap(newest.begin(), newest.end(), newer);
        newest.pop_back();
      }
      newest.emplace_back(ago, EntryInfo{entry.key(), entry.kind, entry.owner, entry.value_bytes(), entry.hits.load(std::memory_order_relaxed),
                                         entry.lifetime.age(now), entry.has(kChained)});
      std::push_heap(newest.begin(), newest.end(), newer);
    });
  }
  std::sort_heap(newest.begin(), newest.end(), newer);
  std::vector<EntryInfo> infos;
  infos.reserve(newest.size());
  for (const Listed& listed : newest) infos.push_back(listed.second);
  return infos;
}

}   // namespace tensorcache::memory
