// kill -9 at random moments, with real files and a real process.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "testing/store/disk.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

constexpr std::uint64_t kCapacity = 24 << 20;

void change(DiskTierOptions& options) {
  options.sync = DiskSync::kRecord;
  options.capacity_bytes = kCapacity;
  options.segment_bytes = 1 << 20;
}

std::size_t size_of(std::uint64_t number) { return 500 + number % 37 * 4000; }

// Until it is killed: puts, removes every seventh, and says what is durable.
[[noreturn]] void live(const std::string& directory, std::uint64_t first, int say) {
  testing::TestTier tier(file::real_file_system(), change, directory);
  for (std::uint64_t number = first;; ++number) {
    static_cast<void>(number % 10 == 0 ? tier.put(number, size_of(number)) : tier.put_behind(number - 1, number, size_of(number)));
    if (number % 10 == 9) tier->remove(key_of(number));
    if (number % 5 == 4 && tier.flush() && ::write(say, &number, sizeof number) != sizeof number) ::_exit(1);
  }
}

std::uint64_t bytes_in(const std::string& directory) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) bytes += entry.file_size();
  return bytes;
}

TEST(DiskKill, EveryRestartServesRightValuesAndWhatWasDurable) {
  const char* const asked = std::getenv("TENSORCACHE_KILLS");
  const int rounds = asked != nullptr ? std::atoi(asked) : 300;
  const std::string directory = ::testing::TempDir() + "disk-kill-" + std::to_string(::getpid());
  std::filesystem::remove_all(directory);
  std::mt19937 random(11);
  std::uint64_t next = 0, served = 0, in_the_middle = 0;
  for (int round = 0; round < rounds; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) live(directory, next, ends[1]);
    ::close(ends[1]);
    pollfd said{ends[0], POLLIN, 0};
    if (round % 2 == 0) {   // however slow the machine is
      ASSERT_EQ(::poll(&said, 1, 60'000), 1) << "nothing is durable after a minute";
    }
    ::usleep(3000 + random() % 40'000);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself";
    std::uint64_t number = 0, durable = 0;
    bool any = false;
    while (::read(ends[0], &number, sizeof number) == sizeof number) {
      durable = number;
      any = true;
    }
    ::close(ends[0]);
    ASSERT_LE(bytes_in(directory), kCapacity);
    testing::TestTier tier(file::real_file_system(), change, directory);
    for (std::uint64_t each = next; any && each <= durable; ++each) {
      // The oldest of a long round may have been evicted.
      ASSERT_TRUE(tier.has(each) || each % 10 == 9 || each + 60 < durable) << "round " << round << ", value " << each << " of " << durable;
      ASSERT_TRUE(each % 10 != 9 || !tier.has(each)) << "removed: " << each;
      ++served;
    }
    for (std::uint64_t each = durable + 1; each < durable + 40; ++each) in_the_middle += tier.has(each);
    next = std::max(next, durable) + 1000;
    next -= next % 10;
  }
  EXPECT_GT(served, static_cast<std::uint64_t>(rounds) / 2);
  EXPECT_GT(in_the_middle, 0u) << "some were killed with values written and not yet said to be durable";
  std::filesystem::remove_all(directory);
}

constexpr std::uint64_t kDeleted = 60;
const std::string kPlanted = "PLANTED-TEXT-OF-WHAT-IS-DELETED.";

// Values of owner 5, each in two versions, among others; then clears them, and waits to be killed.
[[noreturn]] void clear_owner(const std::string& directory, int say) {
  testing::TestTier tier(file::real_file_system(), change, directory);
  std::string text;
  for (int i = 0; i < 600; ++i) text += kPlanted;
  for (std::uint64_t number = 0; number < 2 * kDeleted; ++number) {
    const std::uint64_t key = number % kDeleted;
    if (number == kDeleted) {
      static_cast<void>(tier.flush());
      for (std::uint64_t each = 0; each < kDeleted; ++each) tier->remove(key_of(each));
    }
    static_cast<void>(tier.put(key, 1, [&](DiskTier::Value& value) {
      value.bytes = std::as_bytes(std::span(text).first(text.size() - (number < kDeleted ? 1000 : 0)));
      value.owner = 5;
      value.source = 9;
    }));
    if (number < kDeleted) static_cast<void>(tier.put(1000 + number, 3000));
  }
  if (tier.flush()) {
    if (::write(say, "f", 1) != 1) ::_exit(1);
    tier->clear(Selected{{}, 9, {}, {}});
    if (tier.flush() && ::write(say, "c", 1) != 1) ::_exit(1);
  }
  for (;;) ::pause();
}

bool holds_planted(const std::string& directory) {
  bool found = false;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    found = found || bytes.find(kPlanted) != std::string::npos;
  }
  return found;
}

TEST(DiskKill, AClearIsFinishedByTheNextStart) {
  const std::string directory = ::testing::TempDir() + "disk-kill-clear-" + std::to_string(::getpid());
  std::mt19937 random(12);
  int unfinished = 0;
  for (int round = 0; round < 20 || (unfinished < 2 && round < 300); ++round) {
    std::filesystem::remove_all(directory);
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) clear_owner(directory, ends[1]);
    ::close(ends[1]);
    char said = 0;
    ASSERT_EQ(::read(ends[0], &said, 1), 1);
    ::usleep(random() % 6000);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    const bool cleared = ::read(ends[0], &said, 1) == 1;
    ::close(ends[0]);
    const bool logged = std::filesystem::exists(directory + "/wiping") || cleared;
    unfinished += logged && !cleared;
    if (cleared) {
      ASSERT_FALSE(holds_planted(directory)) << round;
    }
    testing::TestTier tier(file::real_file_system(), change, directory);
    ASSERT_TRUE(tier.flush()) << round;
    std::uint64_t there = 0;
    for (std::uint64_t i = 0; i < kDeleted; ++i) there += tier->read_head(key_of(i), {}).has_value();
    ASSERT_TRUE(there == 0 || (there == kDeleted && !logged)) << round << ": " << there;
    ASSERT_EQ(holds_planted(directory), there > 0) << round;
    for (std::uint64_t i = 0; i < kDeleted; ++i) ASSERT_TRUE(tier.has(1000 + i)) << round << ": " << i;
  }
  EXPECT_GT(unfinished, 0) << "none was killed in the middle";
  std::filesystem::remove_all(directory);
}

}   // namespace
}   // namespace tensorcache::disk
