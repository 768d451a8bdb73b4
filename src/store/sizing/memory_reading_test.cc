#include "store/sizing/memory_reading.h"
#include "testing/core/fake_clock.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace tensorcache::sizing {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// Made-up files under a root of their own.
class Reading : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(root);
    write("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root); }
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  }
  void group(const std::string& folder, const std::string& limit, std::uint64_t used, std::uint64_t idle = 0) const {
    write("/sys/fs/cgroup" + folder + "/memory.max", limit + "\n");
    write("/sys/fs/cgroup" + folder + "/memory.current", std::to_string(used) + "\n");
    write("/sys/fs/cgroup" + folder + "/memory.stat", "anon 5\ninactive_file " + std::to_string(idle) + "\nactive_file 7\n");
  }
  MemoryReading read() {
    const auto reading = reader->read();
    EXPECT_TRUE(reading);
    return reading.value_or(MemoryReading{});
  }
  // The pressure after `stalled_ms` more of it in 20 ms.
  double pressure_after(const std::string& path, int stalled_ms) {
    write(path, "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n");
    read();
    clock.advance(std::chrono::milliseconds(20));
    write(path, "some avg10=0.00 avg60=0.00 avg300=0.00 total=" + std::to_string(5000 + 1000 * stalled_ms) + "\n");
    return read().pressure;
  }

  const std::string root = ::testing::TempDir() + "reading." + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  testing::FakeClock clock;
  const std::unique_ptr<MemoryReader> reader = make_memory_reader(root, clock.function());
};

TEST_F(Reading, TheMachinesOwn) {
  const MemoryReading reading = read();
  EXPECT_EQ(reading.total_bytes, 16384 * kMiB);
  EXPECT_EQ(reading.available_bytes, 8192 * kMiB);
  EXPECT_FALSE(reading.has_pressure);
  EXPECT_EQ(reading.pressure, 0);
}

TEST_F(Reading, TheTightestOfItsCgroups) {
  write("/proc/self/cgroup", "0::/a/b\n");
  group("/a/b", "max", 100 * kMiB);
  group("/a", std::to_string(1000 * kMiB), 700 * kMiB, 200 * kMiB);
  EXPECT_EQ(read().total_bytes, 1000 * kMiB);
  EXPECT_EQ(read().available_bytes, 500 * kMiB) << "idle file pages are given back before anything else";
  group("/a/b", std::to_string(600 * kMiB), 590 * kMiB);
  EXPECT_EQ(read().total_bytes, 600 * kMiB);
  EXPECT_EQ(read().available_bytes, 10 * kMiB);
  group("/a/b", std::to_string(300 * kMiB), 590 * kMiB);
  EXPECT_EQ(read().available_bytes, 0u) << "lowered below what is used";
}

TEST_F(Reading, AParentThatIsFullThoughItsLimitIsLarger) {
  write("/proc/self/cgroup", "0::/a/b\n");
  group("/a/b", std::to_string(1000 * kMiB), 100 * kMiB);
  group("/a", std::to_string(4000 * kMiB), 3950 * kMiB);
  EXPECT_EQ(read().total_bytes, 1000 * kMiB);
  EXPECT_EQ(read().available_bytes, 50 * kMiB);
}

TEST_F(Reading, VersionOne) {
  write("/proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/1\n0::/\n");
  const std::string folder = "/sys/fs/cgroup/memory";   // in the container the path of the host is not there
  write(folder + "/memory.limit_in_bytes", std::to_string(2000 * kMiB));
  write(folder + "/memory.usage_in_bytes", std::to_string(1500 * kMiB));
  write(folder + "/memory.stat", "inactive_file 1\ntotal_inactive_file " + std::to_string(500 * kMiB) + "\n");
  EXPECT_EQ(read().available_bytes, 1000 * kMiB);
  write(folder + "/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(read().available_bytes, 8192 * kMiB);
}

TEST_F(Reading, PressureOfItsCgroupIsTheShareOfTheTime) {
  write("/proc/self/cgroup", "0::/a\n");
  EXPECT_DOUBLE_EQ(pressure_after("/sys/fs/cgroup/a/memory.pressure", 5), 0.25);
  clock.advance(std::chrono::milliseconds(20));
  const MemoryReading later = read();
  EXPECT_TRUE(later.has_pressure);
  EXPECT_EQ(later.pressure, 0) << "no more since";
}

TEST_F(Reading, PressureOfTheMachineCountsWhereItIsShort) {
  EXPECT_EQ(pressure_after("/proc/pressure/memory", 5), 0) << "half of it is available: somebody else has a limit of his own";
  write("/proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:    1000000 kB\n");
  EXPECT_DOUBLE_EQ(pressure_after("/proc/pressure/memory", 5), 0.25);
}

TEST_F(Reading, Garbage) {
  write("/proc/self/cgroup", "0::\n\n:::::\n4:memory\nnonsense\n0::/a\n");
  write("/sys/fs/cgroup/a/memory.max", "lots\n");
  write("/sys/fs/cgroup/a/memory.current", "-5\n");
  write("/proc/pressure/memory", "some avg10=0.00 total=\n");
  write("/sys/fs/cgroup/a/memory.pressure", "\xff\xfe");
  EXPECT_EQ(read().available_bytes, 8192 * kMiB);
  EXPECT_FALSE(read().has_pressure);
  EXPECT_EQ(pressure_after("/sys/fs/cgroup/a/memory.pressure", -4), 0) << "a count that falls";
  write("/proc/meminfo", "MemTotal: much\n");
  EXPECT_FALSE(reader->read());
  write("/proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 0 kB\n");
  EXPECT_FALSE(reader->read());
  std::filesystem::remove_all(root);
  EXPECT_FALSE(reader->read());
}

TEST(SystemReading, ThisMachineHasMemory) {
  const auto reading = make_memory_reader()->read();
  ASSERT_TRUE(reading);
  EXPECT_GT(reading->total_bytes, 64 * kMiB);
  EXPECT_LE(reading->available_bytes, reading->total_bytes);
}

}   // namespace
}   // namespace tensorcache::sizing
