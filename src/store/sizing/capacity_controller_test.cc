#include "store/sizing/capacity_controller.h"
#include "testing/core/eventually.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

namespace tensorcache::sizing {
namespace {

using testing::eventually;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class MadeUp final : public MemoryReader {
 public:
  MadeUp(const std::atomic<std::uint64_t>& available, std::atomic<int>& readings) : available_(available), readings_(readings) {}
  std::optional<MemoryReading> read() override {
    ++readings_;
    const std::uint64_t available = available_;
    if (available == 0) return std::nullopt;
    return MemoryReading{.total_bytes = 2048 * kMiB, .available_bytes = available};
  }

 private:
  const std::atomic<std::uint64_t>& available_;
  std::atomic<int>& readings_;
};

class Keeper : public ::testing::Test {
 protected:
  [[nodiscard]] bool becomes(std::uint64_t capacity) {
    return eventually([&] { return cache.stats().capacity_bytes == capacity && cache.stats().used_bytes <= capacity; });
  }
  ControllerOptions options() {
    ControllerOptions made{.governor = {.share = 0.5, .floor_bytes = 8 * kMiB}, .period = std::chrono::milliseconds(2)};
    made.reader = std::make_unique<MadeUp>(available, readings);
    made.on_event = [this](const std::string& event) {
      const std::lock_guard lock(mutex);
      events += event + "\n";
    };
    return made;
  }
  std::string log() {
    const std::lock_guard lock(mutex);
    return events;
  }

  // The controller has acted on a reading when it takes the next one.
  [[nodiscard]] bool reads_twice_more() {
    return eventually([this, before = readings.load()] { return readings >= before + 2; });
  }

  std::atomic<std::uint64_t> available{1024 * kMiB};
  std::atomic<int> readings{0};
  std::mutex mutex;
  std::string events;   // guarded by mutex
  Cache cache{{.capacity_bytes = 512 * kMiB}};
  CapacityController keeper{cache, options()};   // last: its thread uses the others
};

TEST_F(Keeper, SetsWhatItIsTold) {
  keeper.set(3 * kMiB);
  EXPECT_TRUE(becomes(3 * kMiB));
  keeper.set(5 * kMiB);
  keeper.set(4 * kMiB);
  EXPECT_TRUE(becomes(4 * kMiB)) << "the last one counts";
  EXPECT_FALSE(keeper.state().automatic);
  EXPECT_EQ(keeper.total_bytes(), 2048 * kMiB);
}

TEST_F(Keeper, FollowsTheMachineUntilItIsGivenANumber) {
  keeper.set_automatic();
  EXPECT_TRUE(keeper.state().automatic);
  available = 128 * kMiB;
  ASSERT_TRUE(eventually([&] { return cache.stats().capacity_bytes < 80 * kMiB; }));
  EXPECT_TRUE(eventually([&] { return log().find("the cache shrinks from 512MiB to ") != std::string::npos; })) << log();
  const std::uint64_t low = cache.stats().capacity_bytes;
  available = 1024 * kMiB;
  EXPECT_TRUE(eventually([&] { return cache.stats().capacity_bytes > low; })) << "it grows again";
  EXPECT_EQ(keeper.state().reading->available_bytes, 1024 * kMiB);
  keeper.set(7 * kMiB);
  ASSERT_TRUE(becomes(7 * kMiB));
  const int before = readings;
  keeper.set(9 * kMiB);
  ASSERT_TRUE(becomes(9 * kMiB));
  EXPECT_EQ(readings, before) << "it follows the machine no more";
  EXPECT_FALSE(keeper.state().automatic);
}

TEST_F(Keeper, ValuesGoWhenItShrinks) {
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(cache.put(KeyBuilder("test").field("n", std::uint64_t(i)).build(), std::string(kMiB, 'x')), PutStatus::kStored);
  }
  keeper.set_automatic();
  available = 16 * kMiB;   // scarce
  EXPECT_TRUE(eventually([&] { return cache.stats().used_bytes <= 8 * kMiB; })) << "down to the floor";
}

TEST_F(Keeper, AMachineThatCannotBeReadChangesNothingAndIsToldOnce) {
  keeper.set_automatic();
  available = 0;
  ASSERT_TRUE(eventually([&] { return log().find("cannot be read") != std::string::npos; }));
  ASSERT_TRUE(reads_twice_more());
  EXPECT_EQ(cache.stats().capacity_bytes, 512 * kMiB);
  EXPECT_EQ(log().find("cannot be read"), log().rfind("cannot be read"));
}

TEST_F(Keeper, AnotherShareHoldsAtOnce) {
  keeper.set_automatic();
  keeper.set_share(0.1);
  EXPECT_TRUE(eventually([&] { return cache.stats().capacity_bytes < 110 * kMiB; }));
}

}   // namespace
}   // namespace tensorcache::sizing
