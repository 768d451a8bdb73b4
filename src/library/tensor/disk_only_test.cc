// Values of a TensorCache that are on disk only: written to, removed and asked for as if they were
// in memory; and what a close promises.
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "testing/core/fake_clock.h"
#include "testing/store/fault_files.h"
#include "testing/library/tensor.h"
#include "tensorcache/tensor_cache.h"

namespace tensorcache {
namespace {

using testing::FaultFiles;
using namespace std::chrono_literals;
using testing::text_of;

class DiskOnly : public ::testing::Test {
 protected:
  ~DiskOnly() override { files_->hold_writes(false); }
  void start(std::uint64_t memory_bytes = 64 << 20, std::uint64_t disk_bytes = 256 << 20) {
    cache_.reset();
    CacheOptions store{.capacity_bytes = memory_bytes};
    store.disk = DiskOptions{.directory = "cache", .capacity_bytes = disk_bytes, .on_event = {}, .file_system = files_, .unix_ms = {}};
    cache_ = std::make_unique<TensorCache>(TensorCacheOptions{.store = store});
  }
  WriteResult add(const char* key, const std::string& value) { return cache_->add(key, TensorView::text(value)); }
  [[nodiscard]] std::uint64_t read_bytes() const { return cache_->stats().disk.read_bytes; }

  std::shared_ptr<FaultFiles> files_ = std::make_shared<FaultFiles>();
  std::unique_ptr<TensorCache> cache_;
};

// The counter of docs/cpp.md, pushed out of memory after each step, while another thread writes
// other keys.
TEST_F(DiskOnly, ACounterLosesNoStep) {
  start(1 << 20);
  ASSERT_TRUE(add("counter", "0"));
  files_->set_read_delay(1ms);
  std::atomic<bool> stop{false};
  std::thread noise([&] {
    for (int i = 0; !stop; ++i) {
      (void)add(("other " + std::to_string(i % 50)).c_str(), "x");
      std::this_thread::sleep_for(300us);
    }
  });
  const std::string large(60'000, 'x');
  constexpr int kSteps = 30;
  for (int step = 0; step < kSteps; ++step) {
    for (int i = 0; i < 20; ++i) {   // takes the memory
      (void)add(("large " + std::to_string(step % 3 * 20 + i)).c_str(), large);
      if (i % 4 == 3) (void)cache_->flush(20s);
    }
    for (;;) {
      const Hit now = cache_->get("counter");
      if (now.unavailable()) continue;
      ASSERT_TRUE(now) << "at step " << step;
      const WriteResult written = cache_->put_if_version("counter", now.version(), TensorView::text(std::to_string(std::stoi(text_of(now)) + 1)));
      if (written) break;
      ASSERT_NE(written.status, WriteStatus::kConflict) << "nobody else writes it";
    }
  }
  stop = true;
  noise.join();
  EXPECT_EQ(text_of(cache_->get("counter")), std::to_string(kSteps));
  EXPECT_GT(cache_->stats().disk.hits, 10u);
}

// Other values fill the queue before each step, and the memory after it.
TEST_F(DiskOnly, ACounterLosesNoStepWhileTheDiskIsOverloaded) {
  start(4 << 20);
  const std::string large(8'000, 'x');
  int others = 0;
  const auto add_others = [&](int count) {
    for (int i = 0; i < count; ++i) (void)add(("other " + std::to_string(others++)).c_str(), large);
  };
  constexpr int kSteps = 5;
  for (int step = 0; step < kSteps; ++step) {
    files_->hold_writes(true);
    add_others(300);
    const Hit now = cache_->get("counter");
    ASSERT_EQ(now ? text_of(now) : "0", std::to_string(step));
    ASSERT_TRUE(cache_->put_if_version("counter", now.version(), TensorView::text(std::to_string(step + 1))));
    add_others(1'500);
    files_->hold_writes(false);
    (void)cache_->flush(20s);
  }
  EXPECT_EQ(text_of(cache_->get("counter")), std::to_string(kSteps));
  EXPECT_GT(cache_->stats().disk.dropped_puts, 0u) << "the disk was to be overloaded";
}

// Each is pushed out of memory between its steps. One step may be refused for lack of memory.
TEST_F(DiskOnly, SeveralLargeCountersLoseNoStep) {
  start(8 << 20);
  files_->set_write_delay(1ms);
  std::atomic<bool> stop{false};
  const std::string large(8'000, 'x');
  std::thread noise([&] {
    for (int i = 0; !stop; ++i) (void)add(("other " + std::to_string(i % 4'000)).c_str(), large);
  });
  const auto count = [&](const std::string& key) {
    constexpr int kSteps = 200;
    for (int steps = 0; steps < kSteps;) {
      const Hit now = cache_->get(key);
      if (now.unavailable()) continue;
      if (steps > 0) {
        ASSERT_TRUE(now) << key << " is lost after step " << steps;
        ASSERT_EQ(std::stoi(text_of(now)), steps) << key;
      }
      std::string next = std::to_string(steps + 1) + " ";
      next.resize(300'000, 'y');
      const WriteResult written = cache_->put_if_version(key, now.version(), TensorView::text(next));
      ASSERT_NE(written.status, WriteStatus::kConflict) << "nobody else writes it";
      steps += written ? 1 : 0;
    }
  };
  std::vector<std::thread> counting;
  for (const char* key : {"one", "two", "three"}) counting.emplace_back(count, key);
  for (std::thread& each : counting) each.join();
  stop = true;
  noise.join();
}

TEST_F(DiskOnly, ALargeValueIsNotReadToBeRemovedOrAskedAbout) {
  start();
  ASSERT_TRUE(add("large", std::string(3'000'000, 'x')));
  const WriteResult tagged = cache_->add("tagged", TensorView::text(std::string(3'000'000, 'y')), {.tags = {"t"}});
  ASSERT_TRUE(tagged);
  ASSERT_TRUE(cache_->flush(20s));
  start();
  EXPECT_TRUE(cache_->contains("large"));
  EXPECT_FALSE(cache_->contains("nothing"));
  EXPECT_EQ(cache_->put_if_version("tagged", 1, TensorView::text("x")).version, tagged.version);
  EXPECT_TRUE(cache_->invalidate("t"));
  EXPECT_FALSE(cache_->contains("tagged"));
  EXPECT_FALSE(cache_->remove("tagged")) << "it was invalidated";
  EXPECT_TRUE(cache_->remove("large"));
  EXPECT_FALSE(cache_->remove("large"));
  EXPECT_LT(read_bytes(), 20'000u);
  EXPECT_FALSE(cache_->get("large"));
}

TEST_F(DiskOnly, ASwapRefusesWhereWhatIsStoredCannotBeRead) {
  start();
  ASSERT_TRUE(add("k", "first"));
  ASSERT_TRUE(cache_->flush(20s));
  start();
  files_->fail_call(FaultFiles::kRead, 1, EIO, true);
  EXPECT_TRUE(cache_->get("k").unavailable());
  files_->fail_nothing();
  EXPECT_EQ(cache_->stats().unavailable, 1u);

  const std::string large(100'000, 'x');
  start(1 << 20);
  const WriteResult stored = add("k", large);
  ASSERT_TRUE(stored);
  ASSERT_TRUE(cache_->flush(20s));
  std::vector<Hit> pinned;
  for (int i = 0; i < 30; ++i) {
    (void)add(("other " + std::to_string(i)).c_str(), large);
    (void)cache_->flush(20s);
    pinned.push_back(cache_->get("other " + std::to_string(i)));
  }
  ASSERT_TRUE(cache_->get("k").unavailable()) << "everything in memory is pinned";
  EXPECT_EQ(cache_->put_if_version("k", 0, TensorView::text("x")).status, WriteStatus::kConflict);
  EXPECT_EQ(cache_->put_if_version("k", stored.version, TensorView::text("x")).status, WriteStatus::kUnavailable);
  EXPECT_EQ(text_of(cache_->get_or_compute("k", [] { return Tensor::text("computed"); })), "computed");
  pinned.clear();
  EXPECT_EQ(text_of(cache_->get("k")), large) << "what was computed did not take its place";
}

TEST_F(DiskOnly, NothingReplacedOrRemovedComesBackAfterACloseOnABrokenDisk) {
  start();
  ASSERT_TRUE(add("price", "old"));
  ASSERT_TRUE(add("gone", "was removed"));
  ASSERT_TRUE(cache_->flush(20s));
  files_->fail_call(FaultFiles::kWrite, 1, EIO, true);
  ASSERT_TRUE(add("price", "new"));
  EXPECT_TRUE(cache_->remove("gone"));
  EXPECT_EQ(text_of(cache_->get("price")), "new");
  EXPECT_TRUE(cache_->close(5s)) << "the files can still be removed";
  EXPECT_EQ(text_of(cache_->get("price")), "new") << "in memory only";
  files_->fail_nothing();
  start();
  EXPECT_NE(text_of(cache_->get("price")), "old");
  EXPECT_FALSE(cache_->get("gone"));
}

TEST_F(DiskOnly, ACloseThatPromisesNothingSaysSo) {
  start();
  ASSERT_TRUE(add("price", "old"));
  ASSERT_TRUE(cache_->flush(20s));
  files_->fail_call(FaultFiles::kAny, 1, EROFS, true);   // nothing can be written, removed or renamed
  ASSERT_TRUE(add("price", "new"));
  EXPECT_FALSE(cache_->close(2s));
  EXPECT_FALSE(cache_->close(2s)) << "the same answer";
  files_->fail_nothing();
}

TEST_F(DiskOnly, TheFileOfTagsIsInTheDisksCapacity) {
  constexpr std::uint64_t kDiskBytes = 2 << 20;
  start(16 << 20, kDiskBytes);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(add(("k" + std::to_string(i)).c_str(), std::string(10'000, 'x')));
  (void)cache_->flush(20s);
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(cache_->invalidate("tag " + std::to_string(i)));
  EXPECT_LE(files_->peak_bytes(), kDiskBytes);
  EXPECT_LE(files_->contents().at("cache/tags").size(), kDiskBytes / 8);
  EXPECT_GE(cache_->stats().disk.sidecar_bytes, files_->contents().at("cache/tags").size());
  EXPECT_LT(cache_->stats().tags, 20'000u);
  ASSERT_TRUE(cache_->add("tagged", TensorView::text("x"), {.tags = {"tag 5"}}));
  EXPECT_TRUE(cache_->get("tagged")) << "stored after it was invalidated";
}

TEST_F(DiskOnly, AtMostSoManyRefreshesWait) {
  testing::FakeClock clock;
  cache_ = std::make_unique<TensorCache>(TensorCacheOptions{.store = {.clock = clock.function()}});
  constexpr int kKeys = 5000;
  const auto key = [](int i) { return "k" + std::to_string(i); };
  for (int i = 0; i < kKeys; ++i) ASSERT_TRUE(cache_->add(key(i), TensorView::text("v"), {.time_to_live = 1ms, .stale_for = 1h}));
  clock.advance(1ms);
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  const auto refresh = [gone] {
    gone.wait();
    return Tensor::text("v");
  };
  for (int i = 0; i < kKeys; ++i) EXPECT_TRUE(cache_->get_or_compute(key(i), refresh).stale());
  const TensorCacheStats stats = cache_->stats();
  EXPECT_LE(stats.waiting_refreshes, 4096u);
  EXPECT_GE(stats.dropped_refreshes, kKeys - 4096u - 1);
  go.set_value();
}

}   // namespace
}   // namespace tensorcache
