// Memory runs out at each allocation in turn, in a cache with a disk: of what the caller does, and
// of the threads that load. Afterwards every thread can read, store and remove every key within a
// deadline.
#include <future>

#include "testing/store/disk_cache.h"
#include "testing/core/failing_allocations.h"

namespace tensorcache::cache {
namespace {

using namespace tensorcache::testing;

constexpr std::uint64_t kValues = 10;
constexpr std::size_t kBytes = 3000;

class DiskCacheAllocation : public DiskCache {
 protected:
  // Values 0 to 9 and a chain, on disk only.
  void prepare() {
    is_test_thread = true;
    files_ = std::make_shared<FaultFiles>();
    start();
    for (std::uint64_t i = 0; i < kValues; ++i) ASSERT_EQ(cache_->put(key_of(i), value_of(i, kBytes)), PutStatus::kStored);
    put_chain(*cache_, chain_, kBytes);
    restart();
  }

  // On a thread that had nothing to do with what failed.
  void expect_usable() {
    auto check = std::async(std::launch::async, [&] {
      int wrong = 0;
      for (std::uint64_t i = 0; i < kValues; ++i) {
        const Handle there = cache_->get(key_of(i));
        wrong += there && there.text() != value_of(i, kBytes) && there.text() != "new";
        wrong += cache_->put(key_of(i), "newer", {.replaces = true}) != PutStatus::kStored;
        wrong += cache_->get(key_of(i)).text() != "newer";
        wrong += !cache_->remove(key_of(i));
        wrong += static_cast<bool>(cache_->get(key_of(i)));
      }
      static_cast<void>(cache_->match(chain_));
      cache_->clear();
      wrong += cache_->match(chain_).size() != 0;
      wrong += cache_->get_or_compute(chain_[3], [] { return std::vector<std::byte>(7); }).bytes().size() != 7;
      static_cast<void>(cache_->flush(20s));   // says once what was given up
      wrong += !cache_->flush(20s);
      wrong += !cache_->close(20s);
      return wrong;
    });
    if (check.wait_for(60s) != std::future_status::ready) {
      std::fputs("a key can no longer be used\n", stderr);
      std::abort();   // the thread hangs: nothing could be cleaned up
    }
    EXPECT_EQ(check.get(), 0);
  }

  template <class Operation>
  void fail_each_allocation(const Operation& operation) {
    int failures = 0;
    for (long allowed = 0;; ++allowed) {
      ASSERT_LT(allowed, 1000);
      SCOPED_TRACE(allowed);
      prepare();
      const bool failed = runs_out(allowed, operation);
      failures += failed ? 1 : 0;
      expect_usable();
      if (!failed || HasFailure()) break;
    }
    EXPECT_GT(failures, 0);
  }

  const std::vector<Key> chain_ = keys_of_chain(1, 8);
};

TEST_F(DiskCacheAllocation, OfGet) {
  fail_each_allocation([&] { static_cast<void>(cache_->get(key_of(3))); });
}

TEST_F(DiskCacheAllocation, OfGettingTheEndOfAChain) {
  fail_each_allocation([&] { static_cast<void>(cache_->get(chain_.back())); });
}

TEST_F(DiskCacheAllocation, OfMatch) {
  fail_each_allocation([&] { static_cast<void>(cache_->match(chain_)); });
}

TEST_F(DiskCacheAllocation, OfPut) {
  fail_each_allocation([&] {
    static_cast<void>(cache_->put(key_of(3), "new", {.replaces = true}));
    static_cast<void>(cache_->put(key_of(4), "new"));
    static_cast<void>(cache_->put(key_of(100), "new", {.parent = chain_[5]}));
  });
}

TEST_F(DiskCacheAllocation, OfRemoveAndClear) {
  fail_each_allocation([&] {
    cache_->remove(key_of(3));
    cache_->remove(key_of(100));
    cache_->clear(7);
    cache_->clear(Selection{.owner = 0, .older_than = 0ms});
  });
}

TEST_F(DiskCacheAllocation, OfGetOrCompute) {
  const std::vector<std::byte> value(100);
  fail_each_allocation([&] {
    static_cast<void>(cache_->get_or_compute(key_of(3), [&] { return value; }));
    static_cast<void>(cache_->get_or_compute(key_of(100), [&] { return value; }));
  });
}

TEST_F(DiskCacheAllocation, OfLoad) {
  fail_each_allocation([&] {
    const std::shared_ptr<std::promise<void>> ended = std::make_shared<std::promise<void>>();
    if (cache_->load(chain_, 20s, [ended] { ended->set_value(); })) ended->get_future().wait();
  });
}

TEST_F(DiskCacheAllocation, OfTheThreadsThatLoad) {
  int failures = 0;
  for (long allowed = 0;; ++allowed) {
    ASSERT_LT(allowed, 1000);
    SCOPED_TRACE(allowed);
    prepare();
    const auto ended = std::make_shared<std::promise<void>>();
    others_allocations_left = allowed;
    ASSERT_TRUE(cache_->load(chain_, 20s, [ended] { ended->set_value(); }));
    ASSERT_EQ(ended->get_future().wait_for(60s), std::future_status::ready);
    const bool failed = others_allocations_left.exchange(-1) < 0;
    failures += failed ? 1 : 0;
    expect_usable();
    if (!failed || HasFailure()) break;
  }
  EXPECT_GT(failures, 0);
}

}   // namespace
}   // namespace tensorcache::cache
