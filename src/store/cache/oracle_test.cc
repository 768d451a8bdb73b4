// Random operations against a std::map that does the same in the obvious way.
#include <algorithm>
#include <map>
#include <random>
#include <thread>

#include "testing/store/cache.h"
#include "testing/store/fault_files.h"
#include "tensorcache/cache.h"
#include "testing/core/eventually.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

constexpr std::uint64_t kKeys = 60;

struct Model {
  struct Value {
    std::string text;
    std::uint64_t owner = 0;
    std::int64_t dies_at_ms = 0;   // 0: never
    std::optional<std::uint64_t> parent;
  };

  // All of `gone`'s descendants too.
  std::uint64_t forget(std::vector<std::uint64_t> gone) {
    std::uint64_t count = 0;
    while (!gone.empty()) {
      const std::uint64_t id = gone.back();
      gone.pop_back();
      count += values.erase(id);
      for (const auto& [other, value] : values) {
        if (value.parent == id) gone.push_back(other);
      }
    }
    return count;
  }
  bool dead(std::uint64_t id) const {
    const auto found = values.find(id);
    return found != values.end() && found->second.dies_at_ms != 0 && now_ms >= found->second.dies_at_ms;
  }
  bool served(std::uint64_t id) const { return values.contains(id) && !dead(id); }
  // It alone: its descendants are dead too, and are met in turn.
  void meet(std::uint64_t id) {
    if (!dead(id)) return;
    values.erase(id);
    for (auto& [other, value] : values) {
      if (value.parent == id) value.parent.reset();
    }
  }

  std::map<std::uint64_t, Value> values;
  std::int64_t now_ms = 0;
};

struct Oracle {
  Oracle(std::uint64_t seed, std::uint64_t capacity_bytes, const char* policy, std::shared_ptr<testing::FaultFiles> on_disk = nullptr)
      : random(seed), files(std::move(on_disk)) {
    cache_options.capacity_bytes = capacity_bytes;
    cache_options.policy = policy;
    cache_options.clock = clock.function();
    if (files) {
      cache_options.disk = DiskOptions{
          .directory = "cache", .queue_bytes = capacity_bytes / 2, .segment_bytes = 1 << 20, .on_event = {}, .file_system = files, .unix_ms = [this] {
            return 1'700'000'000'000 + wall_ms;
          }};
      cache_options.disk->capacity_bytes = 64 << 20;
    }
    open();
    for (std::uint64_t i = 0; i < kKeys; ++i) keys.push_back(key_of(i));
  }
  void open() {
    pins.clear();
    owned.reset();
    owned = std::make_unique<Cache>(cache_options);
    EXPECT_TRUE(eventually([&] { return !files || cache().disk_stats().ready; }));
  }
  Cache& cache() { return *owned; }
  std::uint64_t below(std::uint64_t end) { return random() % end; }
  std::size_t any_size() {
    const std::size_t sizes[] = {0, 10, 100, 1000, 100'000, 200'000};
    return sizes[below(6)] + below(50);
  }

  // What both agree on is checked in `exact`, where nothing is evicted.
  void put(bool exact) {
    const std::uint64_t id = below(kKeys);
    Model::Value value{value_of(++serial, any_size()), below(3), 0, {}};
    PutOptions options{.owner = value.owner};
    if (below(2) == 0) {
      value.parent = below(kKeys);
      options.parent = keys[*value.parent];
    }
    if (below(4) == 0) {
      options.time_to_live = milliseconds(1 + below(200));
      value.dies_at_ms = model.now_ms + options.time_to_live.count();
    }
    if (value.parent && model.served(*value.parent)) {
      const std::int64_t parent_dies = model.values[*value.parent].dies_at_ms;
      if (parent_dies != 0 && (value.dies_at_ms == 0 || parent_dies < value.dies_at_ms)) value.dies_at_ms = parent_dies;
    }
    const PutStatus status = cache().put(keys[id], value.text, options);
    const bool already = model.served(id);
    // An expired value in the way goes first.
    if (!already && (!value.parent || model.served(*value.parent))) model.meet(id);
    const bool parent_missing = value.parent && !model.served(*value.parent);
    if (exact) {
      ASSERT_EQ(status, already ? PutStatus::kAlreadyStored : parent_missing ? PutStatus::kParentMissing : PutStatus::kStored);
    }
    if (status != PutStatus::kStored) return;
    model.forget({id});   // evicted, unknown to the model
    model.values[id] = std::move(value);
  }

  void get(bool exact) {
    const std::uint64_t id = below(kKeys);
    const Handle hit = cache().get(keys[id]);
    if (exact) {
      ASSERT_EQ(static_cast<bool>(hit), model.served(id));
    }
    if (hit) {
      ASSERT_TRUE(model.served(id)) << "served what was removed, replaced or has expired";
      ASSERT_EQ(hit.text(), model.values[id].text);
    }
    model.meet(id);
    if (hit && below(4) == 0) pins.emplace_back(cache().get(keys[id]), model.values[id].text);
  }

  void match(bool exact) {
    std::vector<std::uint64_t> ids;   // a stored value and all it is chained behind, then one that is not stored
    for (std::optional<std::uint64_t> id = below(kKeys); id && model.values.contains(*id); id = model.values[*id].parent) ids.push_back(*id);
    std::reverse(ids.begin(), ids.end());
    ids.push_back(kKeys);
    std::vector<Key> chain;
    for (const std::uint64_t id : ids) chain.push_back(key_of(id));
    const std::size_t peeked = cache().peek(chain);
    const auto run = cache().match(chain);
    // Only reading tells that what is on disk has expired.
    ASSERT_TRUE(run.size() == peeked || (files && run.size() < peeked));
    for (std::size_t i = 0; i < run.size(); ++i) {
      ASSERT_TRUE(model.served(ids[i]));
      ASSERT_EQ(text_of(run.blocks()[i]), model.values[ids[i]].text);
    }
    if (run.size() < ids.size()) {
      if (exact) {
        ASSERT_FALSE(model.served(ids[run.size()]));
      }
      model.meet(ids[run.size()]);
    }
  }

  void step(bool exact) {
    switch (below(16)) {
      case 0: {
        const std::uint64_t id = below(kKeys), before = model.values.contains(id);
        const bool removed = cache().remove(keys[id]);
        if (exact) {
          ASSERT_EQ(removed, before != 0);
        }
        model.meet(id);
        model.forget({id});
        break;
      }
      case 1:
        if (below(20) == 0) {
          const std::uint64_t owner = below(3);
          std::vector<std::uint64_t> gone;
          for (const auto& [id, value] : model.values) {
            if (value.owner == owner) gone.push_back(id);
          }
          const std::uint64_t cleared = cache().clear(owner), expected = model.forget(gone);
          if (exact) {
            ASSERT_EQ(cleared, expected);
          }
          ASSERT_TRUE(cache().list(owner, 1).empty());
        }
        break;
      case 2:
        clock.advance(milliseconds(5));
        model.now_ms += 5;
        wall_ms = model.now_ms;
        break;
      case 3:
        if (!pins.empty()) pins.erase(pins.begin() + static_cast<std::ptrdiff_t>(below(pins.size())));
        break;
      case 4:
        match(exact);
        break;
      case 5:
      case 6:
      case 7:
      case 8:
        get(exact);
        break;
      default:
        put(exact);
    }
  }

  void check() {
    const Stats stats = cache().stats();
    ASSERT_LE(stats.used_bytes, stats.capacity_bytes);
    ASSERT_LE(stats.peak_bytes, stats.capacity_bytes);
    for (const auto& [handle, text] : pins) ASSERT_EQ(handle.text(), text);
    for (const auto& [id, value] : model.values) {
      if (value.parent && cache().contains(keys[id])) {
        ASSERT_TRUE(cache().contains(keys[*value.parent]) || model.dead(*value.parent)) << "a child without its parent";
      }
    }
  }

  FakeClock clock;
  std::mt19937_64 random;
  std::shared_ptr<testing::FaultFiles> files;
  CacheOptions cache_options;
  std::vector<Key> keys;
  Model model;
  std::uint64_t serial = 0;
  std::atomic<std::int64_t> wall_ms{0};
  std::vector<std::pair<Handle, std::string>> pins;
  std::unique_ptr<Cache> owned;   // goes before what its options point into
};

TEST(Oracle, WithRoomForAllTheCacheIsAMap) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    Oracle oracle(seed, 1 << 30, "lru");
    for (int i = 0; i < 1500; ++i) {
      oracle.step(true);
      ASSERT_EQ(entries(oracle.cache().stats()), oracle.model.values.size());
      if (i % 50 == 0) oracle.check();
      if (::testing::Test::HasFatalFailure()) return;
    }
    ASSERT_EQ(oracle.cache().stats().evictions, 0u);
  }
}

TEST(Oracle, WithLittleRoomWhatIsServedIsStillRight) {
  for (const char* policy : {"lru", "fifo"}) {
    for (std::uint64_t seed = 100; seed < 120; ++seed) {
      SCOPED_TRACE(seed);
      Oracle oracle(seed, 1 << 20, policy);
      for (int i = 0; i < 1500; ++i) {
        oracle.step(false);
        if (i % 10 == 0) oracle.check();
        if (::testing::Test::HasFatalFailure()) return;
      }
      EXPECT_GT(oracle.cache().stats().evictions, 50u);
      oracle.pins.clear();
      oracle.cache().clear();
      EXPECT_EQ(oracle.cache().stats().used_bytes, 0u) << "nothing leaks";
    }
  }
}

TEST(Oracle, WithADiskAndRestartsWhatIsServedIsStillRight) {
  std::uint64_t from_disk = 0;
  for (std::uint64_t seed = 200; seed < 212; ++seed) {
    SCOPED_TRACE(seed);
    Oracle oracle(seed, 2 << 20, "lru", std::make_shared<testing::FaultFiles>());
    for (int i = 0; i < 800; ++i) {
      oracle.step(false);
      if (i % 10 == 0) oracle.check();
      if (oracle.below(20) == 0) {
        const bool flushed = oracle.cache().flush(std::chrono::seconds(20));
        // With all memory in use, what waits to be written included, the index may have no room for
        // one more.
        const DiskStats stats = oracle.cache().disk_stats();
        ASSERT_TRUE(flushed || stats.dropped_puts + stats.too_large_puts + stats.index_full > 0);
      }
      if (oracle.below(100) == 0) {
        from_disk += oracle.cache().disk_stats().hits;
        oracle.open();
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(from_disk, 100u);
}

}   // namespace
}   // namespace tensorcache::cache
