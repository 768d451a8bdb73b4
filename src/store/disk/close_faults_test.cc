// A life in which each system call in turn fails, up to a close and the start after it.
#include <cerrno>

#include "testing/store/disk.h"

namespace tensorcache::disk {
namespace {

using namespace tensorcache::testing;

// Every kind of work with the n-th call failing, once or for ever, until a close. What was removed
// comes back only if close() said so.
struct Trouble {
  unsigned calls;
  int error;
  bool for_ever;
};

class EveryCallOfALife : public ::testing::TestWithParam<Trouble> {};

TEST_P(EveryCallOfALife, BringsNothingBackAndWorksAgain) {
  const Trouble trouble = GetParam();
  std::uint64_t n = 1, happened = 0, said = 0;
  for (bool failed = true; failed; n += 1 + n / 20) {
    ASSERT_LT(n, 5000u);
    const auto files = std::make_shared<testing::FaultFiles>();
    testing::TestTier tier(files, [](DiskTierOptions& options) { options.capacity_bytes = 1 << 20; });
    for (std::uint64_t i = 0; i < 24; ++i) ASSERT_TRUE(i % 4 == 0 ? tier.put(i, 20'000) : tier.put_behind(i - 1, i, 20'000));
    for (std::uint64_t i = 50; i < 54; ++i) ASSERT_TRUE(tier.put(i, 2000, [](DiskTier::Value& value) { value.owner = 7; }));
    ASSERT_TRUE(tier.flush());
    files->fail_call(trouble.calls, n, trouble.error, trouble.for_ever);
    tier->remove(key_of(5));
    static_cast<void>(tier.put(5, 500));
    tier->clear(7);
    static_cast<void>(tier.flush());
    tier->purge(std::vector<Key>{key_of(9)});
    for (std::uint64_t i = 100; i < 130; ++i) static_cast<void>(tier.put(i, 20'000));   // evicts
    static_cast<void>(tier.flush());
    static_cast<void>(tier.read({0, 1, 2, 3}));
    tier->remove(key_of(12));
    const bool closed = tier->close(std::chrono::seconds(20));
    failed = files->faults() > 0;
    happened += failed;
    said += closed ? 0 : 1;
    tier.stop();
    files->fail_nothing();
    tier.start();
    ASSERT_TRUE(tier.healed()) << "call " << n;
    if (closed) {
      ASSERT_NE(tier->bytes_of(std::vector<Key>{key_of(5)}), 20'000u) << "the replaced value, call " << n;
      for (const std::uint64_t i : {9, 10, 11, 12, 13, 50, 53}) ASSERT_FALSE(tier.has(i)) << i << ", call " << n;
    }
    for (std::uint64_t i = 200; i < 210; ++i) ASSERT_TRUE(tier.put(i, 1000));
    ASSERT_TRUE(tier.flush()) << "call " << n;
    ASSERT_TRUE(tier->remove(key_of(203)));
    tier.restart();
    for (std::uint64_t i = 200; i < 210; ++i) ASSERT_EQ(tier.has(i), i != 203) << i << ", call " << n;
  }
  EXPECT_GT(happened, 0u);
  if (!trouble.for_ever || (trouble.calls & testing::FaultFiles::kSync) == 0) {
    EXPECT_EQ(said, 0u) << "there is a way as long as something works";
  }
}

INSTANTIATE_TEST_SUITE_P(Calls, EveryCallOfALife,
                         ::testing::Values(Trouble{testing::FaultFiles::kRead, EIO, false}, Trouble{testing::FaultFiles::kRead, EIO, true},
                                           Trouble{testing::FaultFiles::kWrite, EIO, false}, Trouble{testing::FaultFiles::kWrite, EIO, true},
                                           Trouble{testing::FaultFiles::kWrite, ENOSPC, true}, Trouble{testing::FaultFiles::kOpen, EMFILE, false},
                                           Trouble{testing::FaultFiles::kOpen, EIO, true}, Trouble{testing::FaultFiles::kNames, EIO, false},
                                           Trouble{testing::FaultFiles::kNames, EROFS, true}, Trouble{testing::FaultFiles::kSync, EIO, false},
                                           Trouble{testing::FaultFiles::kSync, EIO, true}, Trouble{testing::FaultFiles::kAny, EIO, false},
                                           Trouble{testing::FaultFiles::kAny, EIO, true}));

}   // namespace
}   // namespace tensorcache::disk
