#include "base/core/callback_target.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

namespace tensorcache {
namespace {

TEST(CallbackTarget, IsReachedWhileItIsOpen) {
  int calls = 0;
  std::optional<CallbackTarget<int*>> target(&calls);
  const auto ref = target->ref();
  const auto other = ref;
  ref.call([](int* count) { ++*count; });
  other.call([](int* count) { ++*count; });
  EXPECT_EQ(calls, 2);
  target->close();
  ref.call([](int* count) { ++*count; });
  target.reset();
  other.call([](int* count) { ++*count; });
  EXPECT_EQ(calls, 2);
}

TEST(CallbackTarget, LetsGoOfWhatItOwns) {
  const auto owned = std::make_shared<int>(0);
  CallbackTarget<std::shared_ptr<int>> target(owned);
  const auto ref = target.ref();
  EXPECT_EQ(owned.use_count(), 2);
  target.close();
  EXPECT_EQ(owned.use_count(), 1) << "although a callback is still to come";
}

TEST(CallbackTarget, ClosingWaitsForACallUnderWay) {
  std::atomic<bool> inside{false}, leave{false}, closed{false};
  int value = 0;
  CallbackTarget<int*> target(&value);
  std::thread caller([&inside, &leave, ref = target.ref()] {
    ref.call([&](int* to) {
      inside = true;
      inside.notify_one();
      leave.wait(false);
      *to = 1;
    });
  });
  inside.wait(false);
  std::thread closer([&] {
    target.close();
    closed = true;
  });
  EXPECT_FALSE(closed);
  leave = true;
  leave.notify_one();
  closer.join();
  EXPECT_EQ(value, 1) << "the call had ended before the target was closed";
  caller.join();
}

}   // namespace
}   // namespace tensorcache
