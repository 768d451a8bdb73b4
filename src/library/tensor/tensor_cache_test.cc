#include "testing/library/tensor.h"
#include "tensorcache/tensor_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "testing/store/cache.h"
#include "library/tensor/tags.h"
#include "tensorcache/cache_manager.h"

namespace tensorcache {
namespace {

using testing::text_of;
using namespace std::chrono_literals;
using testing::FakeClock;

TensorView text(std::string_view value) { return TensorView::text(value); }
TensorCacheOptions with_clock(const FakeClock& clock) { return {.store = {.capacity_bytes = 1 << 24, .clock = clock.function()}}; }

TEST(TensorCache, TypesShapesAndStridesComeBack) {
  TensorCache cache({.store = {.capacity_bytes = 1 << 24}});
  const std::vector<float> numbers = {1, 2, 3, 4, 5, 6};
  const std::vector<std::int32_t> tokens = {7, 8, 9};
  ASSERT_TRUE(cache.add(tokens, TensorView::of(std::span<const float>(numbers), {2, 3})));
  const TensorView columns{DType::kFloat32, numbers.data(), {3, 2}, {1, 3}};
  ASSERT_TRUE(cache.add("columns", columns));
  const Hit hit = cache.get(tokens);
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit.tensor().dtype, DType::kFloat32);
  EXPECT_EQ(hit.tensor().shape, (Axes{2, 3}));
  EXPECT_EQ(hit.tensor().elements<float>()[4], 5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(hit.tensor().data) % 64, 0u);
  EXPECT_EQ(cache.get("columns").tensor().strides, (Axes{1, 3}));
  EXPECT_FALSE(cache.get("other"));
  EXPECT_THROW((void)hit.tensor(1), std::out_of_range);
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(cache.stats().hits, 2u);
  EXPECT_EQ(cache.stats().misses, 1u);
  EXPECT_TRUE(cache.peek("columns"));
  EXPECT_FALSE(cache.peek("other"));
  EXPECT_EQ(cache.stats().hits + cache.stats().misses, 3u) << "peeking does not count";
}

TEST(TensorCache, SeveralPartsAndTheirStructure) {
  TensorCache cache({});
  const TensorView parts[] = {text("a"), text("bc")};
  ASSERT_TRUE(cache.add("pair", parts, R"({"tuple":[0,1]})"));
  const Hit hit = cache.get("pair");
  EXPECT_EQ(hit.parts(), 2u);
  EXPECT_EQ(hit.tensor(1).characters(), "bc");
  EXPECT_EQ(hit.structure(), R"({"tuple":[0,1]})");
}

TEST(TensorCache, AddReplacesAndRemoveForgets) {
  TensorCache cache({});
  const WriteResult first = cache.add("k", text("old"));
  const Hit old = cache.get("k");
  const WriteResult second = cache.add("k", text("new"));
  EXPECT_GT(second.version, first.version);
  EXPECT_EQ(text_of(cache.get("k")), "new");
  EXPECT_EQ(text_of(old), "old") << "whoever holds it keeps what it saw";
  EXPECT_TRUE(cache.remove("k"));
  EXPECT_FALSE(cache.remove("k"));
  EXPECT_FALSE(cache.contains("k"));
  ASSERT_TRUE(cache.add("k", text("again")));
  EXPECT_EQ(cache.clear(), 1u);
  EXPECT_EQ(cache.size(), 0u);
}

TEST(TensorCache, KindsOfKeysNeverMeet) {
  TensorCache cache({});
  ASSERT_TRUE(cache.add("\1", text("text")));
  ASSERT_TRUE(cache.add(std::as_bytes(std::span("\1", 1)), text("bytes")));
  ASSERT_TRUE(cache.add(std::vector<std::int32_t>{1}, text("tokens")));
  ASSERT_TRUE(cache.add(std::vector<std::int32_t>{1, 23}, text("1, 23")));
  ASSERT_TRUE(cache.add(std::vector<std::int32_t>{12, 3}, text("12, 3")));
  EXPECT_EQ(cache.size(), 5u);
  EXPECT_EQ(text_of(cache.get(std::vector<std::int64_t>{1, 23})), "1, 23");
}

TEST(TensorCache, TimeToLiveThenStaleThenGone) {
  FakeClock clock;
  TensorCache cache(with_clock(clock));
  ASSERT_TRUE(cache.add("k", text("v"), {.time_to_live = 100ms, .stale_for = 50ms}));
  clock.advance(99ms);
  EXPECT_FALSE(cache.get("k").stale());
  clock.advance(1ms);
  EXPECT_TRUE(cache.get("k").stale());
  EXPECT_EQ(cache.get("k").age(), 100ms);
  EXPECT_EQ(cache.stats().stale_hits, 2u);
  clock.advance(50ms);
  EXPECT_FALSE(cache.get("k"));
  EXPECT_THROW((void)cache.add("k", text("v"), {.time_to_live = -1ms}), std::invalid_argument);
}

TEST(TensorCache, TagsAreInvalidatedAtOnceAndForWhatCameBefore) {
  TensorCache cache({});
  ASSERT_TRUE(cache.add("a", text("1"), {.tags = {"red", "big"}}));
  ASSERT_TRUE(cache.add("b", text("2"), {.tags = {"red"}}));
  ASSERT_TRUE(cache.add("c", text("3"), {.tags = {"blue"}}));
  EXPECT_TRUE(cache.invalidate("big"));
  EXPECT_FALSE(cache.get("a"));
  EXPECT_EQ(text_of(cache.get("b")), "2");
  EXPECT_TRUE(cache.invalidate("red"));
  EXPECT_FALSE(cache.contains("b"));
  EXPECT_EQ(text_of(cache.get("c")), "3");
  ASSERT_TRUE(cache.add("b", text("4"), {.tags = {"red"}}));
  EXPECT_EQ(text_of(cache.get("b")), "4");
  EXPECT_EQ(cache.size(), 2u) << "what was met is cleared away";
  EXPECT_THROW((void)cache.add("d", text(""), {.tags = std::vector<std::string>(17, "t")}), std::invalid_argument);
}

TEST(TensorCache, WhatBeganBeforeAnInvalidationIsGoneWithIt) {
  TensorCache cache({});
  const std::uint64_t before = cache.now();
  cache.invalidate("t");
  ASSERT_TRUE(cache.add("k", text("v"), {.tags = {"t"}, .as_of = before}));
  EXPECT_FALSE(cache.get("k"));
  ASSERT_TRUE(cache.add("k", text("v"), {.tags = {"t"}, .as_of = cache.now()}));
  EXPECT_TRUE(cache.get("k"));
}

TEST(TensorCache, SoManyTagsThatTheOldestAreTakenAsOne) {
  tensor::Tags tags;
  const tensor::ValueHead old{.as_of = 1, .tags = {tensor::tag_id("0")}}, other{.as_of = 1, .tags = {tensor::tag_id("other")}};
  const tensor::ValueHead untagged{.as_of = 1}, young{.as_of = 1'000'000, .tags = {tensor::tag_id("0")}};
  for (std::uint64_t i = 0; i < 70'000; ++i) EXPECT_TRUE(tags.invalidate(tensor::tag_id(std::to_string(i)), 10 + i));
  EXPECT_TRUE(tags.is_gone(old));
  EXPECT_TRUE(tags.is_gone(other)) << "too much is gone rather than too little";
  EXPECT_FALSE(tags.is_gone(untagged));
  EXPECT_FALSE(tags.is_gone(young));
}

TEST(TensorCache, PutIfVersion) {
  TensorCache cache({});
  const WriteResult first = cache.put_if_version("k", 0, text("1"));
  ASSERT_TRUE(first);
  EXPECT_EQ(cache.put_if_version("k", 0, text("x")).status, WriteStatus::kConflict);
  EXPECT_EQ(cache.put_if_version("k", 0, text("x")).version, first.version);
  const WriteResult second = cache.put_if_version("k", first.version, text("2"));
  ASSERT_TRUE(second);
  EXPECT_FALSE(cache.put_if_version("k", first.version, text("x")));
  EXPECT_EQ(text_of(cache.get("k")), "2");
  cache.remove("k");
  EXPECT_EQ(cache.put_if_version("k", second.version, text("x")).version, 0u);
  ASSERT_TRUE(cache.put_if_version("k", 0, text("3"), {.tags = {"t"}}));
  cache.invalidate("t");
  EXPECT_TRUE(cache.put_if_version("k", 0, text("4")));
  EXPECT_EQ(cache.stats().conflicts, 4u);
}

TEST(TensorCache, AVersionFromTheFutureIsAsOfNow) {
  TensorCache cache({});
  ASSERT_TRUE(cache.add("k", text("v"), {.tags = {"t"}, .as_of = UINT64_MAX}));
  EXPECT_TRUE(cache.get("k"));
  cache.invalidate("t");
  EXPECT_FALSE(cache.get("k"));
}

TEST(TensorCache, PutIfVersionWhereTwoDoNotFit) {
  TensorCache cache({.store = {.capacity_bytes = 1 << 20}});
  const std::string large(600'000, 'x');
  const WriteResult first = cache.add("k", text(large));
  ASSERT_TRUE(first);
  EXPECT_EQ(cache.put_if_version("k", first.version, text(large)).status, WriteStatus::kStored);
  const Lease lease = cache.lease("k", 0ms, 10s);
  EXPECT_EQ(cache.add(lease, text(large)).status, WriteStatus::kStored);
}

TEST(TensorCache, NothingCanBeRemembered) {
  FakeClock clock;
  TensorCache cache(with_clock(clock));
  ASSERT_TRUE(cache.add_negative("k", {.time_to_live = 100ms}));
  EXPECT_FALSE(cache.get("k"));
  EXPECT_TRUE(cache.get("k").negative());
  EXPECT_FALSE(cache.contains("k"));
  clock.advance(100ms);
  EXPECT_FALSE(cache.get("k").negative());
}

TEST(TensorCache, AWrongTensorLeavesWhatIsThere) {
  TensorCache cache({});
  ASSERT_TRUE(cache.add("k", text("there")));
  EXPECT_THROW((void)cache.add("k", TensorView{DType::kInt8, nullptr, {3}, {1}}), std::invalid_argument);
  EXPECT_THROW((void)cache.add("k", TensorView{DType::kText, "abcd", {2, 2}, {2, 1}}), std::invalid_argument);
  EXPECT_EQ(text_of(cache.get("k")), "there");
}

TEST(TensorCache, AValueLargerThanTheCacheLeavesWhatIsThere) {
  TensorCache cache({.store = {.capacity_bytes = 1 << 20}});
  ASSERT_TRUE(cache.add("k", text("small")));
  const std::string large(2 << 20, 'x'), barely((1 << 20) - 200, 'x');
  EXPECT_EQ(cache.add("k", text(large)).status, WriteStatus::kTooLarge);
  EXPECT_EQ(cache.add("k", text(barely)).status, WriteStatus::kTooLarge);
  EXPECT_EQ(text_of(cache.get("k")), "small");
  EXPECT_EQ(cache.stats().rejected_writes, 2u);
}

TEST(TensorCache, NoRoomLeavesWhatWasThere) {
  TensorCache cache({.store = {.capacity_bytes = 1 << 20}});
  const std::string large(300'000, 'x');
  std::vector<Hit> pinned;
  for (const char* key : {"a", "b"}) {
    ASSERT_TRUE(cache.add(key, text(large)));
    pinned.push_back(cache.get(key));
  }
  ASSERT_TRUE(cache.add("k", text("old")));
  EXPECT_EQ(cache.add("k", text(large + large)).status, WriteStatus::kNoSpace);
  EXPECT_EQ(text_of(cache.get("k")), "old");
}

TEST(TensorCache, LimitedByANumberOfEntries) {
  TensorCache cache({.capacity_entries = 3});
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(cache.add(key, text(key)));
  EXPECT_TRUE(cache.get("a"));
  ASSERT_TRUE(cache.add("d", text("d")));
  EXPECT_FALSE(cache.get("b")) << "the least recently used";
  EXPECT_TRUE(cache.get("a"));
  EXPECT_EQ(cache.size(), 3u);
  EXPECT_EQ(cache.stats().entry_limit_evictions, 1u);
  cache.resize_entries(1);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_TRUE(cache.get("a"));
  cache.resize_entries(0);
  for (const char* key : {"b", "c", "d"}) ASSERT_TRUE(cache.add(key, text(key)));
  EXPECT_EQ(cache.size(), 4u);
  cache.resize_entries(2);
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_TRUE(cache.get("d"));
}

TEST(TensorCache, WhatIsGoneDoesNotCountForTheLimitOfEntries) {
  FakeClock clock;
  TensorCache cache({.store = {.clock = clock.function()}, .capacity_entries = 2});
  ASSERT_TRUE(cache.add("a", text("1")));
  ASSERT_TRUE(cache.add("b", text("2"), {.time_to_live = 100ms}));
  clock.advance(100ms);
  EXPECT_FALSE(cache.get("b"));
  ASSERT_TRUE(cache.add("c", text("3")));
  EXPECT_TRUE(cache.get("a"));
  EXPECT_EQ(cache.stats().entry_limit_evictions, 0u);
}

TEST(TensorCache, Batches) {
  TensorCache cache({});
  const std::vector<ItemKey> keys = {"a", "b", "c"};
  const std::vector<TensorView> values = {text("1"), text("2")};
  EXPECT_THROW((void)cache.add_many(keys, values), std::invalid_argument);
  const auto results = cache.add_many(std::span(keys).first(2), values);
  EXPECT_TRUE(results[0] && results[1]);
  const auto hits = cache.get_many(keys);
  EXPECT_EQ(text_of(hits[1]), "2");
  EXPECT_FALSE(hits[2]);
}

TEST(CacheManager, NamesKeepCachesApartUnderOneBudget) {
  CacheManager manager({.store = {.capacity_bytes = 1 << 20}});
  TensorCache &one = manager.cache("one"), &two = manager.cache("two", 2);
  EXPECT_EQ(&manager.cache("one"), &one);
  ASSERT_TRUE(one.add("k", text("1")));
  EXPECT_FALSE(two.get("k"));
  ASSERT_TRUE(two.add("k", text("2")));
  EXPECT_EQ(text_of(one.get("k")), "1");
  EXPECT_EQ(two.size(), 1u);
  EXPECT_EQ(two.clear(), 1u);
  EXPECT_TRUE(one.get("k"));
  EXPECT_EQ(manager.names(), (std::vector<std::string>{"", "one", "two"}));
  // One budget: filling one evicts from the other.
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(two.add(std::to_string(i), text(std::string(100'000, 'x'))));
  EXPECT_LE(two.size(), 2u);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(manager.cache("").add(std::to_string(i), text(std::string(100'000, 'x'))));
  EXPECT_FALSE(one.get("k"));
  EXPECT_LE(one.stats().store.used_bytes, 1u << 20);
  manager.clear();
  EXPECT_EQ(manager.cache("").size(), 0u);
}

TEST(CacheManager, ANameThatIsTooLongLeavesNothingBehind) {
  CacheManager manager({});
  EXPECT_THROW((void)manager.cache(std::string(201, 'n')), std::invalid_argument);
  EXPECT_EQ(manager.names(), (std::vector<std::string>{""}));
  EXPECT_EQ(manager.clear(), 0u);
}

TEST(CacheManager, EachCountsItsOwn) {
  CacheManager manager({});
  ASSERT_TRUE(manager.cache("one").add("a", text("1")));
  ASSERT_TRUE(manager.cache("one").add("b", text("2")));
  ASSERT_TRUE(manager.cache("").add("c", text("3")));
  EXPECT_EQ(manager.cache("").size(), 1u);
  EXPECT_EQ(manager.cache("one").size(), 2u);
}

TEST(EntryLimit, HoldsWhereValuesAreAddedWhileAllAreCleared) {
  TensorCache cache({.store = {}, .capacity_entries = 2});
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int t = 0; t < 3; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) (void)cache.add(std::to_string(100 * t + i % 50), text("v"));
    });
  }
  for (int i = 0; i < 3000; ++i) cache.clear();
  stop = true;
  for (auto& writer : writers) writer.join();
  for (int i = 0; i < 10; ++i) (void)cache.add("last " + std::to_string(i), text("v"));
  EXPECT_EQ(cache.size(), 2u);
}

}   // namespace
}   // namespace tensorcache
