// A TensorCache with a disk: everything it promises holds across a restart.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "testing/store/cache.h"
#include "testing/store/fault_files.h"
#include "library/tensor/tags.h"
#include "tensorcache/cache_manager.h"

namespace tensorcache {
namespace {

using namespace std::chrono_literals;
using testing::FaultFiles;

class TensorDisk : public ::testing::Test {
 protected:
  [[nodiscard]] TensorCacheOptions options() const {
    CacheOptions store{.capacity_bytes = 16 << 20, .clock = clock_.function()};
    store.disk = DiskOptions{.directory = "cache", .capacity_bytes = 64 << 20, .on_event = {}, .file_system = files_, .unix_ms = clock_.unix_ms()};
    return {.store = store};
  }
  void start() {
    cache_.reset();
    cache_ = std::make_unique<TensorCache>(options());
  }
  void restart() {
    ASSERT_TRUE(cache_->flush(20s));
    start();
  }
  [[nodiscard]] std::string text(const char* key) {
    const Hit hit = cache_->get(key);
    return hit ? std::string(hit.tensor().characters()) : "(nothing)";
  }
  void put(const char* key, const char* value, const AddOptions& add = {}) { ASSERT_TRUE(cache_->add(key, TensorView::text(value), add)); }

  testing::FakeClock clock_;
  std::shared_ptr<FaultFiles> files_ = std::make_shared<FaultFiles>();
  std::unique_ptr<TensorCache> cache_;
};

TEST_F(TensorDisk, ValuesVersionsAndReplacementsAreThereAfterARestart) {
  start();
  put("a", "old");
  put("a", "new");
  put("b", "removed");
  const std::uint64_t version = cache_->get("a").version();
  cache_->remove("b");
  restart();
  EXPECT_EQ(text("a"), "new");
  EXPECT_EQ(text("b"), "(nothing)");
  EXPECT_EQ(cache_->get("a").version(), version);
  const WriteResult next = cache_->put_if_version("a", version, TensorView::text("newer"));
  ASSERT_TRUE(next);
  EXPECT_GT(next.version, version);
}

TEST_F(TensorDisk, WhatWasInvalidatedStaysSo) {
  start();
  put("a", "1", {.tags = {"t"}});
  put("b", "2", {.tags = {"u"}});
  ASSERT_TRUE(cache_->flush(20s));
  EXPECT_TRUE(cache_->invalidate("t"));
  EXPECT_TRUE(cache_->invalidate("other"));
  restart();
  EXPECT_EQ(text("a"), "(nothing)");
  EXPECT_EQ(text("b"), "2");
  put("a", "3", {.tags = {"t"}});
  restart();
  EXPECT_EQ(text("a"), "3");
}

TEST_F(TensorDisk, ATornNoteOfATagIsPassedOver) {
  start();
  put("a", "1", {.tags = {"t"}});
  EXPECT_TRUE(cache_->invalidate("other"));
  EXPECT_TRUE(cache_->invalidate("t"));
  ASSERT_TRUE(cache_->flush(20s));
  cache_.reset();
  int error = 0;
  const auto file = files_->open("cache/tags", file::Open::kWrite, &error);
  ASSERT_TRUE(file);
  std::uint64_t bytes = 0;
  ASSERT_EQ(file->size(&bytes), 0);
  ASSERT_EQ(file->truncate(bytes - 5), 0);
  start();
  EXPECT_EQ(text("a"), "1") << "its note was the torn one";
  EXPECT_TRUE(cache_->invalidate("t"));
  restart();
  EXPECT_EQ(text("a"), "(nothing)");
}

// An invalidation is of now, and what it is for may be of a later time, by a clock that was wrong.
TEST_F(TensorDisk, AClockThatWasSetBackKeepsNoneFromBeingInvalidated) {
  const auto clock_ms = std::make_shared<std::atomic<std::int64_t>>(std::chrono::milliseconds(10'000h).count());   // the cache outlives this function
  const auto open = [&] {
    cache_.reset();
    TensorCacheOptions opened = options();
    opened.store.disk->unix_ms = [clock_ms] { return clock_ms->load(); };
    cache_ = std::make_unique<TensorCache>(opened);
  };
  open();
  put("a", "1", {.tags = {"t"}});
  const std::uint64_t version = cache_->peek("a").version();
  ASSERT_TRUE(cache_->flush(20s));
  *clock_ms = std::chrono::milliseconds(9'000h).count();
  open();
  EXPECT_TRUE(cache_->invalidate("t"));
  EXPECT_EQ(text("a"), "(nothing)");
  const WriteResult again = cache_->add("a", TensorView::text("2"));
  ASSERT_TRUE(again);
  EXPECT_GT(again.version, version);
}

// What was invalidated is not known then: better too much is gone than too little.
TEST_F(TensorDisk, WhereTheNotesOfTagsAreDamagedWhatHasTagsIsGone) {
  using Bytes = std::vector<std::byte>;
  for (const auto damage : {+[](Bytes& file) { file.at(40) ^= std::byte{1}; }, +[](Bytes& file) { file.resize(9 << 20); }}) {
    files_ = std::make_shared<FaultFiles>();
    start();
    put("a", "1", {.tags = {"t"}});
    put("b", "2");
    EXPECT_TRUE(cache_->invalidate("t"));
    EXPECT_TRUE(cache_->invalidate("u"));
    EXPECT_TRUE(cache_->invalidate("v"));
    ASSERT_TRUE(cache_->flush(20s));
    cache_.reset();
    auto contents = files_->contents();
    damage(contents.at("cache/tags"));
    files_->set_contents(contents);
    start();
    EXPECT_EQ(text("a"), "(nothing)");
    EXPECT_EQ(text("b"), "2");
    put("a", "3", {.tags = {"t"}});
    restart();
    EXPECT_EQ(text("a"), "3");
  }
}

TEST_F(TensorDisk, ANoteOfTagsThatCannotBeReadIsSaid) {
  start();
  EXPECT_TRUE(cache_->invalidate("t"));
  EXPECT_FALSE(tensor::Tags(files_, "cache").is_damaged());
  EXPECT_FALSE(tensor::Tags(files_, "elsewhere").is_damaged()) << "none was written yet";
  for (const FaultFiles::Call call : {FaultFiles::kOpen, FaultFiles::kRead}) {
    files_->fail_call(call, 1, EIO);
    EXPECT_TRUE(tensor::Tags(files_, "cache").is_damaged());
  }
  files_->fail_nothing();
}

TEST_F(TensorDisk, WhatHasNoRoomInMemoryStaysOnDisk) {
  start();
  const std::string value(1'500'000, 'x'), large(7'700'000, 'x');
  put("a", value.c_str());
  restart();
  std::vector<Hit> pinned;
  for (const char* key : {"b", "c"}) {
    ASSERT_TRUE(cache_->add(key, TensorView::text(large)));
    pinned.push_back(cache_->peek(key));
  }
  EXPECT_FALSE(cache_->get("a")) << "no room for it";
  pinned.clear();
  EXPECT_EQ(text("a").size(), value.size());
}

TEST_F(TensorDisk, ADiskThatFailsIsSaidAndHoldsInMemory) {
  start();
  put("a", "1", {.tags = {"t"}});
  files_->fail_call(FaultFiles::kAny, 1, EIO, true);
  EXPECT_FALSE(cache_->invalidate("t"));
  EXPECT_EQ(text("a"), "(nothing)");
  files_->fail_nothing();
  EXPECT_TRUE(cache_->invalidate("t"));
}

TEST_F(TensorDisk, FreshnessGoesOn) {
  start();
  put("a", "1", {.time_to_live = 100ms, .stale_for = 1h});
  put("b", "2", {.time_to_live = 1h});
  restart();
  clock_.advance(100ms);
  EXPECT_TRUE(cache_->get("a").stale());
  EXPECT_FALSE(cache_->get("b").stale());
}

TEST_F(TensorDisk, NamesKeepCachesApartThereToo) {
  {
    CacheManager manager(options());
    ASSERT_TRUE(manager.cache("one").add("k", TensorView::text("1")));
    ASSERT_TRUE(manager.flush(20s));
  }
  CacheManager manager(options());
  EXPECT_TRUE(manager.cache("one").get("k"));
  EXPECT_FALSE(manager.cache("two").get("k"));
  EXPECT_FALSE(manager.cache("").get("k"));
}

TEST_F(TensorDisk, OneProcessAtATimeOnADirectory) {
  start();
  try {
    const TensorCache second(options());
    FAIL() << "it was opened twice";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("cache"), std::string::npos) << error.what();
  }
}

}   // namespace
}   // namespace tensorcache
