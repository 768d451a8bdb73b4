// Memory runs out: on the writing thread at each allocation in turn, and in each member that a
// caller's thread runs.
#include <atomic>
#include <cstdlib>
#include <new>

#include "testing/store/disk.h"

namespace {

using namespace tensorcache::testing;

std::atomic<long> allocations_left{-1};   // negative: all succeed. Of the thread that fails: the others', or this one
thread_local bool is_test = false;
std::atomic<bool> test_fails{false};

void* allocate(std::size_t size) {
  if (is_test == test_fails.load() && allocations_left.load() >= 0 && allocations_left-- == 0) return nullptr;
  return std::malloc(size);
}

}   // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* const memory = allocate(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace tensorcache::disk {
namespace {

using std::chrono::seconds;

constexpr std::uint64_t kKeys = 24;

void prepare(testing::TestTier& tier) {
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    ASSERT_TRUE(i % 4 == 0 ? tier.put(i, 20'000) : tier.put_behind(i - 1, i, 20'000));
  }
  ASSERT_TRUE(tier.flush());
  ASSERT_TRUE(tier.has(0));
  ASSERT_TRUE(tier.has(20));
  tier->name_owner(1, "somebody");
}

// What each of these does on the writing thread is run again and again, and its n-th allocation
// fails.
struct Work {
  const char* name;
  void (*run)(testing::TestTier& tier, testing::FaultFiles& files);
};

const Work kWorks[] = {
    {"Put", [](testing::TestTier& tier,
               testing::FaultFiles&) { static_cast<void>(tier.put(100, 20'000) && tier.put_behind(100, 101, 20'000) && tier.flush()); }},
    {"Remove",
     [](testing::TestTier& tier, testing::FaultFiles&) {
       tier->remove(key_of(1));
       static_cast<void>(tier.flush());
     }},
    {"Clear",
     [](testing::TestTier& tier, testing::FaultFiles&) {
       tier->remove(key_of(1));
       tier->clear(std::nullopt);
       static_cast<void>(tier.flush());
     }},
    {"ClearOwner",
     [](testing::TestTier& tier, testing::FaultFiles&) {
       tier->clear(0);
       static_cast<void>(tier.flush());
     }},
    {"ClearByAge",
     [](testing::TestTier& tier, testing::FaultFiles&) {
       tier->clear(Selected{{}, {}, tier.now_ms(), {}});
       static_cast<void>(tier.flush());
     }},
    {"Purge",
     [](testing::TestTier& tier, testing::FaultFiles&) {
       tier->purge(std::vector<Key>{key_of(1), key_of(9)});
       static_cast<void>(tier.flush());
     }},
    {"Evict",
     [](testing::TestTier& tier, testing::FaultFiles&) {
       for (std::uint64_t i = 200; i < 240; i += 5) {
         for (std::uint64_t j = i; j < i + 5; ++j) static_cast<void>(tier.put(j, 20'000));
         static_cast<void>(tier.flush());
       }
       tier->remove(key_of(1));
     }},
    {"Heal",
     [](testing::TestTier& tier, testing::FaultFiles& files) {
       files.fail_call(testing::FaultFiles::kWrite, 1, EIO, true);
       static_cast<void>(tier.put(100, 100) && tier.flush());
       tier->remove(key_of(1));
       files.fail_nothing();
       static_cast<void>(tier.healed());
     }},
    {"Restart",
     [](testing::TestTier& tier, testing::FaultFiles&) {
       tier->remove(key_of(1));
       tier.restart();   // writes the last values, names and usage, and recovers
       static_cast<void>(tier.flush());
     }},
};

class WritingThread : public ::testing::TestWithParam<Work> {};

TEST_P(WritingThread, LivesOnWhereMemoryRunsOut) {
  is_test = true;
  test_fails = false;
  long n = 0;
  for (bool failed = true; failed; ++n) {
    ASSERT_LT(n, 20'000);
    const auto files = std::make_shared<testing::FaultFiles>();
    testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 1 << 20; });
    ASSERT_NO_FATAL_FAILURE(prepare(tier));
    const bool removes = std::string_view(GetParam().name) != "Put";
    allocations_left = n;
    GetParam().run(tier, *files);
    failed = allocations_left.exchange(-1) < 0;
    ASSERT_TRUE(tier.healed()) << "allocation " << n;
    if (removes) {
      ASSERT_FALSE(tier.has(1)) << "allocation " << n;
    }
    for (std::uint64_t i = 0; i < kKeys; ++i) tier->remove(key_of(i));
    for (std::uint64_t i = 0; i < kKeys; ++i) ASSERT_TRUE(tier.put(i, 1000)) << "allocation " << n;
    ASSERT_TRUE(tier.flush()) << "allocation " << n;
    for (std::uint64_t i = 0; i < kKeys; ++i) ASSERT_TRUE(tier.has(i)) << i << ", allocation " << n;
    ASSERT_EQ(tier->stats().queued_bytes, 0u);
    ASSERT_EQ(tier->stats().queued_removals, 0u);
    ASSERT_TRUE(tier->remove(key_of(2)));
    ASSERT_TRUE(tier->close(seconds(20))) << "allocation " << n;
    tier.restart();
    for (std::uint64_t i = 0; i < kKeys; ++i) ASSERT_EQ(tier.has(i), i != 2) << i << ", allocation " << n;
  }
  EXPECT_GT(n, 5) << "nothing failed";
}

INSTANTIATE_TEST_SUITE_P(Works, WritingThread, ::testing::ValuesIn(kWorks), [](const auto& work) { return std::string(work.param.name); });

// A member that throws leaves everything as it was.
TEST(CallersThread, AMemberThatThrowsChangesNothing) {
  is_test = true;
  testing::TestTier tier;
  ASSERT_NO_FATAL_FAILURE(prepare(tier));
  auto bytes = std::make_shared<std::vector<std::byte>>(value_bytes(500, 100));
  const auto put = [&] {
    DiskTier::Value value;
    value.key = key_of(500);
    value.bytes = *bytes;
    value.holder = bytes;
    value.parent = key_of(4);
    return tier->put(std::move(value));
  };
  const std::vector<Key> purged{key_of(12), key_of(16)};
  const Key removed = key_of(8);
  const std::string name(100, 'n');
  struct Member {
    const char* name;
    std::function<void()> run;
  };
  const std::vector<Member> members{
      {"put", [&] { static_cast<void>(put()); }},
      {"remove", [&] { tier->remove(removed); }},
      {"purge", [&] { tier->purge(purged); }},
      {"name_owner", [&] { tier->name_owner(77, name); }},
      {"clear by age", [&] { tier->clear(Selected{99, {}, tier.now_ms(), {}}); }},
      {"clear", [&] { tier->clear(0); }},
  };
  for (const Member& member : members) {
    ASSERT_TRUE(tier.flush());
    for (long n = 0;; ++n) {
      ASSERT_LT(n, 1000);
      const std::uint64_t entries = tier->stats().entries, queued = tier->stats().queued_bytes;
      bool threw = false;
      test_fails = true;
      allocations_left = n;
      try {
        member.run();
      } catch (const std::bad_alloc&) {
        threw = true;
      }
      allocations_left = -1;
      test_fails = false;
      if (!threw) break;
      ASSERT_EQ(tier->stats().entries, entries) << member.name << ", allocation " << n;
      ASSERT_EQ(tier->stats().queued_bytes, queued) << member.name << ", allocation " << n;
      ASSERT_EQ(tier->stats().queued_removals, 0u) << member.name << ", allocation " << n;
      ASSERT_FALSE(tier->has_children(key_of(500)));
    }
    ASSERT_TRUE(tier.flush()) << member.name;
  }
  EXPECT_EQ(tier->stats().entries, 0u);
  tier.restart();
  EXPECT_EQ(tier->stats().entries, 0u);
}

}   // namespace
}   // namespace tensorcache::disk
