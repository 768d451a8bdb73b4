// What cache.h promises of single values: storing, finding, forgetting, expiring, owners, lists and
// counts.
#include "tensorcache/cache.h"

#include <limits>

#include "testing/store/cache.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

TEST(Cache, GivesBackWhatWasPut) {
  Cache cache({});
  // Around the border between values inside an entry's block and those in a buffer of their own.
  for (const std::size_t size : {0, 1, 63, 64, 65, 4096, 131071, 131072, 131073, 3 << 20}) {
    SCOPED_TRACE(size);
    const std::string value = value_of(size, size);
    ASSERT_EQ(cache.put(key_of(size), value), PutStatus::kStored);
    const Handle hit = cache.get(key_of(size));
    ASSERT_TRUE(hit);
    EXPECT_EQ(hit.text(), value);
    EXPECT_EQ(hit.bytes().size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(hit.bytes().data()) % 64, 0u);
  }
}

TEST(Cache, MissIsAnEmptyHandle) {
  Cache cache({});
  const Handle miss = cache.get(key_of(1));
  EXPECT_FALSE(miss);
  EXPECT_TRUE(miss.bytes().empty());
  EXPECT_TRUE(miss.text().empty());
  EXPECT_EQ(miss.age().count(), 0);
  EXPECT_FALSE(cache.contains(key_of(1)));
  EXPECT_FALSE(cache.remove(key_of(1)));
}

TEST(Cache, ValuesAreImmutable) {
  Cache cache({});
  ASSERT_EQ(cache.put(key_of(1), "first"), PutStatus::kStored);
  EXPECT_EQ(cache.put(key_of(1), "second"), PutStatus::kAlreadyStored);
  EXPECT_EQ(cache.get(key_of(1)).text(), "first");
  EXPECT_EQ(cache.reserve(key_of(1), 6).status(), PutStatus::kAlreadyStored);
  EXPECT_EQ(cache.stats().puts, 1u);
  EXPECT_EQ(cache.stats().rejected_puts, 0u);
}

TEST(Cache, DraftIsInvisibleUntilCommitted) {
  Cache cache({});
  Reservation draft = cache.reserve(key_of(1), 5);
  ASSERT_TRUE(draft);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(draft.bytes().data()) % 64, 0u);
  std::memcpy(draft.bytes().data(), "hello", 5);
  EXPECT_FALSE(cache.contains(key_of(1)));
  EXPECT_EQ(entries(cache.stats()), 0u);
  EXPECT_GT(cache.stats().used_bytes, 5u) << "what is being written counts";
  EXPECT_EQ(cache.commit(std::move(draft)), PutStatus::kStored);
  EXPECT_EQ(cache.get(key_of(1)).text(), "hello");
}

TEST(Cache, DroppedDraftGivesItsSpaceBack) {
  Cache cache({});
  {
    const Reservation draft = cache.reserve(key_of(1), 1000);
  }
  EXPECT_EQ(cache.stats().used_bytes, 0u);
  EXPECT_FALSE(cache.contains(key_of(1)));
  Reservation moved = cache.reserve(key_of(1), 1000);
  moved = Reservation();
  EXPECT_FALSE(moved);
  EXPECT_TRUE(moved.bytes().empty());
  EXPECT_EQ(cache.stats().used_bytes, 0u);
  EXPECT_EQ(cache.commit(Reservation()), PutStatus::kNoSpace);
}

TEST(Cache, TheFirstOfTwoDraftsOfAKeyWins) {
  Cache cache({});
  Reservation first = cache.reserve(key_of(1), 1), second = cache.reserve(key_of(1), 1);
  first.bytes()[0] = std::byte{'1'};
  second.bytes()[0] = std::byte{'2'};
  EXPECT_EQ(cache.commit(std::move(second)), PutStatus::kStored);
  EXPECT_EQ(cache.commit(std::move(first)), PutStatus::kAlreadyStored);
  EXPECT_EQ(cache.get(key_of(1)).text(), "2");
}

TEST(Cache, RemoveForgets) {
  Cache cache({});
  ASSERT_EQ(cache.put(key_of(1), "a"), PutStatus::kStored);
  EXPECT_TRUE(cache.remove(key_of(1)));
  EXPECT_FALSE(cache.remove(key_of(1)));
  EXPECT_FALSE(cache.get(key_of(1)));
  EXPECT_EQ(cache.stats().used_bytes, 0u);
  EXPECT_EQ(cache.stats().removals, 1u);
  EXPECT_EQ(cache.put(key_of(1), "b"), PutStatus::kStored);
  EXPECT_EQ(cache.get(key_of(1)).text(), "b");
}

TEST(Cache, HandlesKeepWhatIsRemovedClearedAndReplaced) {
  Cache cache({});
  const std::string small = value_of(1, 100), large = value_of(2, 1 << 20);
  ASSERT_EQ(cache.put(key_of(1), small), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), large), PutStatus::kStored);
  Handle one = cache.get(key_of(1)), two = cache.get(key_of(2));
  EXPECT_TRUE(cache.remove(key_of(1)));
  EXPECT_EQ(cache.clear(), 1u);
  EXPECT_EQ(entries(cache.stats()), 0u);
  EXPECT_GE(cache.stats().used_bytes, small.size() + large.size()) << "pinned bytes stay charged";
  ASSERT_EQ(cache.put(key_of(1), "new"), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), value_of(3, 1 << 20)), PutStatus::kStored);
  EXPECT_EQ(one.text(), small);
  EXPECT_EQ(two.text(), large);
  Handle moved = std::move(one);
  EXPECT_FALSE(one);   // NOLINT(bugprone-use-after-move): that is the promise
  EXPECT_EQ(moved.text(), small);
  moved = std::move(two);
  EXPECT_EQ(moved.text(), large);
  moved.reset();
  EXPECT_FALSE(moved);
  EXPECT_EQ(cache.clear(), 2u);
  EXPECT_EQ(cache.stats().used_bytes, 0u);
}

TEST(Cache, HandlesAndDraftsOutliveIt) {
  FakeClock clock;
  Handle small, large;
  Reservation draft;
  {
    Cache cache({.clock = clock.function()});
    ASSERT_EQ(cache.put(key_of(1), "still here"), PutStatus::kStored);
    ASSERT_EQ(cache.put(key_of(2), value_of(2, 1 << 20)), PutStatus::kStored);
    small = cache.get(key_of(1));
    large = cache.get(key_of(2));
    draft = cache.reserve(key_of(3), 100);
  }
  EXPECT_EQ(small.text(), "still here");
  EXPECT_EQ(large.text(), value_of(2, 1 << 20));
  clock.advance(milliseconds(5));
  EXPECT_EQ(small.age(), milliseconds(5));
  EXPECT_EQ(draft.bytes().size(), 100u);
}

TEST(Cache, ReplacesWhereItIsTold) {
  Cache cache({});
  ASSERT_EQ(cache.put(key_of(1), "old", {.owner = 1}), PutStatus::kStored);
  EXPECT_EQ(cache.put(key_of(1), "new"), PutStatus::kAlreadyStored);
  const Handle old = cache.get(key_of(1));
  EXPECT_EQ(cache.put(key_of(1), "new", {.owner = 2, .replaces = true}), PutStatus::kStored);
  EXPECT_EQ(cache.get(key_of(1)).text(), "new");
  EXPECT_EQ(old.text(), "old");
  EXPECT_EQ(entries(cache.stats()), 1u);
  EXPECT_EQ(cache.clear(1), 0u);
  EXPECT_EQ(cache.put(key_of(2), "first", {.replaces = true}), PutStatus::kStored) << "there is nothing to replace";
}

TEST(Cache, DoesNotReplaceWhatOthersAreChainedBehind) {
  Cache cache({});
  ASSERT_EQ(cache.put(key_of(1), "parent"), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), "child", {.parent = key_of(1)}), PutStatus::kStored);
  EXPECT_EQ(cache.put(key_of(1), "another", {.replaces = true}), PutStatus::kAlreadyStored);
  EXPECT_EQ(cache.get(key_of(1)).text(), "parent");
}

TEST(Cache, KeepsTheOldValueWhereTheNewOneHasNoRoom) {
  constexpr std::size_t kBytes = 10'000;
  Cache cache({.capacity_bytes = 3 * charge_of(kBytes)});
  ASSERT_EQ(cache.put(key_of(1), value_of(1, kBytes)), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), value_of(2, kBytes)), PutStatus::kStored);
  const Handle pinned = cache.get(key_of(1)), other = cache.get(key_of(2));
  EXPECT_EQ(cache.put(key_of(1), value_of(3, 2 * kBytes), {.replaces = true}), PutStatus::kNoSpace);
  EXPECT_EQ(cache.put(key_of(1), value_of(3, 9 * kBytes), {.replaces = true}), PutStatus::kTooLarge);
  EXPECT_EQ(cache.get(key_of(1)).text(), value_of(1, kBytes));
  ASSERT_EQ(cache.put(key_of(3), value_of(3, kBytes / 2)), PutStatus::kStored);
  EXPECT_EQ(cache.put(key_of(3), value_of(3, 2 * kBytes), {.replaces = true}), PutStatus::kNoSpace) << "nor would there be without the old one";
  EXPECT_EQ(cache.get(key_of(3)).text(), value_of(3, kBytes / 2));
}

TEST(Cache, ReplacesEvenInTheRoomOfWhatItReplaces) {
  constexpr std::size_t kBytes = 10'000;
  Cache cache({.capacity_bytes = charge_of(kBytes) + 1000});
  ASSERT_EQ(cache.put(key_of(1), value_of(1, kBytes)), PutStatus::kStored);
  EXPECT_EQ(cache.put(key_of(1), value_of(2, kBytes), {.replaces = true}), PutStatus::kStored);
  EXPECT_EQ(cache.get(key_of(1)).text(), value_of(2, kBytes));
}

TEST(Cache, ExpiredValuesAreNotServed) {
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  ASSERT_EQ(cache.put(key_of(1), "short", {.time_to_live = milliseconds(100)}), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), "for ever"), PutStatus::kStored);
  clock.advance(milliseconds(99));
  EXPECT_TRUE(cache.contains(key_of(1)));
  EXPECT_EQ(cache.get(key_of(1)).age(), milliseconds(99));
  clock.advance(milliseconds(1));
  EXPECT_FALSE(cache.contains(key_of(1)));
  EXPECT_EQ(cache.peek(std::vector{key_of(1)}), 0u);
  EXPECT_EQ(cache.list(std::nullopt, 10).size(), 1u);
  EXPECT_EQ(entries(cache.stats(0)), 1u);
  EXPECT_EQ(cache.stats().expirations, 0u);
  EXPECT_FALSE(cache.get(key_of(1)));
  EXPECT_EQ(cache.stats().expirations, 1u) << "reclaimed when met";
  EXPECT_EQ(entries(cache.stats()), 1u);
  clock.advance(std::chrono::hours(24 * 365));
  EXPECT_EQ(cache.get(key_of(2)).text(), "for ever");
}

TEST(Cache, AnExpiredValueMakesWayForANewOne) {
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  ASSERT_EQ(cache.put(key_of(1), "old", {.time_to_live = milliseconds(100)}), PutStatus::kStored);
  const Handle old = cache.get(key_of(1));
  clock.advance(milliseconds(100));
  EXPECT_EQ(cache.put(key_of(1), "new"), PutStatus::kStored);
  EXPECT_EQ(cache.get(key_of(1)).text(), "new");
  EXPECT_EQ(old.text(), "old");
  EXPECT_EQ(cache.get_or_compute(key_of(1), [] { return std::vector<std::byte>(); }).text(), "new");
}

TEST(Cache, LifeBeginsAtTheCommit) {
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  Reservation draft = cache.reserve(key_of(1), 1, {.time_to_live = milliseconds(100)});
  clock.advance(milliseconds(500));
  ASSERT_EQ(cache.commit(std::move(draft)), PutStatus::kStored);
  EXPECT_TRUE(cache.get(key_of(1)));
  EXPECT_EQ(cache.put(key_of(2), "born dead", {.time_to_live = milliseconds(-1)}), PutStatus::kStored);
  EXPECT_FALSE(cache.get(key_of(2)));
  ASSERT_EQ(cache.put(key_of(3), "long", {.time_to_live = milliseconds::max()}), PutStatus::kStored);
  EXPECT_TRUE(cache.get(key_of(3)));
}

// A clock may begin anywhere, and what comes from disk may be old.
TEST(Cache, LifeIsCountedFromAnyTime) {
  for (const std::int64_t begin_s : {std::int64_t{0}, std::int64_t{1'750'000'000}, std::int64_t{9'000'000'000}}) {
    std::chrono::steady_clock::time_point now{std::chrono::seconds(begin_s)};
    Cache cache({.clock = [&now] { return now; }});
    ASSERT_EQ(cache.put(key_of(1), "x", {.time_to_live = std::chrono::hours(1)}), PutStatus::kStored);
    now += std::chrono::minutes(59);
    EXPECT_EQ(cache.get(key_of(1)).age(), std::chrono::minutes(59)) << begin_s;
    now += std::chrono::minutes(1);
    EXPECT_FALSE(cache.get(key_of(1))) << begin_s;
  }
}

TEST(Cache, LongLivesAreRoundedDownByLittle) {
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  for (const auto life : {std::chrono::hours(1), std::chrono::hours(24 * 30), std::chrono::hours(24 * 365 * 3)}) {
    ASSERT_EQ(cache.put(key_of(1), "x", {.time_to_live = life + milliseconds(1)}), PutStatus::kStored);
    clock.advance(life - life / 500);
    EXPECT_TRUE(cache.get(key_of(1))) << life.count();
    clock.advance(life / 500 + milliseconds(1));
    EXPECT_FALSE(cache.get(key_of(1))) << life.count();
  }
}

TEST(Cache, OwnersAreSeparate) {
  Cache cache({});
  for (std::uint64_t i = 0; i < 30; ++i) {
    ASSERT_EQ(cache.put(key_of(i), value_of(i, 100), {.kind = Kind::kAnswer, .owner = i % 3}), PutStatus::kStored);
  }
  EXPECT_EQ(cache.list(1, 100).size(), 10u);
  for (const EntryInfo& info : cache.list(1, 100)) EXPECT_EQ(info.owner, 1u);
  const Stats one = cache.stats(1);
  EXPECT_EQ(entries(one), 10u);
  EXPECT_EQ(one.kinds[1].value_bytes, 1000u);
  EXPECT_EQ(one.used_bytes, one.kinds[1].charged_bytes);
  EXPECT_EQ(one.hits + one.misses + one.puts, 0u) << "says nothing of other owners' traffic";
  EXPECT_EQ(cache.clear(1), 10u);
  EXPECT_EQ(cache.list(1, 100).size(), 0u);
  EXPECT_EQ(cache.list(std::nullopt, 100).size(), 20u);
  for (std::uint64_t i = 0; i < 30; ++i) EXPECT_EQ(cache.contains(key_of(i)), i % 3 != 1) << i;
  EXPECT_EQ(cache.clear(7), 0u);
}

TEST(Cache, ListsTheMostRecentlyUsedFirst) {
  FakeClock clock;
  Cache cache({.clock = clock.function()});
  for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(cache.put(key_of(i), value_of(i, i)), PutStatus::kStored);
  clock.advance(milliseconds(40));
  (void)cache.get(key_of(1));
  (void)cache.get(key_of(3));
  (void)cache.get(key_of(3));
  const auto all = cache.list(std::nullopt, 100);
  std::vector<std::uint64_t> sizes;
  for (const EntryInfo& info : all) sizes.push_back(info.value_bytes);
  EXPECT_EQ(sizes, (std::vector<std::uint64_t>{3, 1, 4, 2, 0}));
  EXPECT_EQ(all[0].key, key_of(3));
  EXPECT_EQ(all[0].hits, 2u);
  EXPECT_EQ(all[0].age, milliseconds(40));
  EXPECT_FALSE(all[0].chained);
  const auto two = cache.list(std::nullopt, 2);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].key, key_of(3));
  EXPECT_EQ(two[1].key, key_of(1));
  EXPECT_TRUE(cache.list(std::nullopt, 0).empty());
}

TEST(Cache, Counts) {
  Cache cache({.capacity_bytes = 1 << 20});
  ASSERT_EQ(cache.put(key_of(1), "answer", {.kind = Kind::kAnswer}), PutStatus::kStored);
  ASSERT_EQ(cache.put(key_of(2), "tensor!", {.kind = Kind::kTensor}), PutStatus::kStored);
  EXPECT_EQ(cache.put(key_of(3), value_of(3, 2 << 20)), PutStatus::kTooLarge);
  (void)cache.get(key_of(1));
  (void)cache.get(key_of(9));
  (void)cache.contains(key_of(1));
  const Stats stats = cache.stats();
  EXPECT_EQ(stats.capacity_bytes, 1u << 20);
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.puts, 2u);
  EXPECT_EQ(stats.rejected_puts, 1u);
  EXPECT_EQ(stats.kinds[static_cast<int>(Kind::kAnswer)].entries, 1u);
  EXPECT_EQ(stats.kinds[static_cast<int>(Kind::kAnswer)].value_bytes, 6u);
  EXPECT_EQ(stats.kinds[static_cast<int>(Kind::kTensor)].value_bytes, 7u);
  EXPECT_GE(stats.used_bytes, stats.kinds[1].charged_bytes + stats.kinds[3].charged_bytes);
  EXPECT_GE(stats.peak_bytes, stats.used_bytes);
}

TEST(Cache, WrongOptionsAreNamed) {
  try {
    const Cache cache({.policy = "clairvoyant"});
    FAIL();
  } catch (const std::invalid_argument& error) {
    const std::string message = error.what();
    for (const char* part : {"policy", "clairvoyant", "\"fifo\"", "\"lru\""}) EXPECT_NE(message.find(part), std::string::npos) << part;
  }
  try {
    const Cache cache({.clock = nullptr});
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("clock"), std::string::npos);
  }
}

TEST(Cache, WrongPutOptionsAreNamedAndChangeNothing) {
  Cache cache({.capacity_bytes = 64 << 10});
  ASSERT_EQ(cache.put(key_of(1), "abc"), PutStatus::kStored);
  const std::vector<Key> chain{key_of(1)};
  const auto error_of = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "none";
  };
  for (const int priority : {-1, 101, 254, 255, 1000}) {
    const Hints hints{.priority = priority};
    EXPECT_EQ(error_of([&] { (void)cache.put(key_of(2), "abc", {.hints = hints}); }).find("hints.priority: "), 0u) << priority;
    EXPECT_EQ(error_of([&] { (void)cache.reserve(key_of(2), 3, {.hints = hints}); }).find("hints.priority: "), 0u) << priority;
    EXPECT_EQ(error_of([&] { cache.advise(chain, hints); }).find("hints.priority: "), 0u) << priority;
    bool computed = false;
    const auto compute = [&] {
      computed = true;
      return std::vector<std::byte>(3);
    };
    EXPECT_EQ(error_of([&] { (void)cache.get_or_compute(key_of(2), compute, {.hints = hints}); }).find("hints.priority: "), 0u) << priority;
    EXPECT_FALSE(computed);
  }
  EXPECT_EQ(error_of([&] { (void)cache.put(key_of(2), "abc", {.kind = static_cast<Kind>(99)}); }).find("kind: "), 0u);
  EXPECT_EQ(error_of([&] { (void)cache.put(key_of(2), "abc", {.cost_seconds = std::numeric_limits<float>::quiet_NaN()}); }).find("cost_seconds: "),
            0u);
  EXPECT_FALSE(cache.get(key_of(2)));
  EXPECT_EQ(cache.get(key_of(1)).text(), "abc");
}

TEST(Cache, NamesKindsAndStatuses) {
  EXPECT_EQ(kind_name(Kind::kPrefixBlock), "prefix-block");
  EXPECT_EQ(kind_name(static_cast<Kind>(99)), "unknown");
  EXPECT_EQ(put_status_name(PutStatus::kNoSpace), "no-space");
}

}   // namespace
}   // namespace tensorcache::cache
