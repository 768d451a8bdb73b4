#include "store/disk/write_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <stdexcept>

#include "testing/core/values.h"

namespace tensorcache::disk {
namespace {

using testing::key_of;

constexpr std::array<std::byte, 100> kBytes{};

class WriteQueueTest : public ::testing::Test {
 protected:
  // RETURNS: whether a value with an end was waiting under the key.
  bool put(std::uint64_t key, std::size_t bytes = 10, std::optional<std::uint64_t> parent = {}, std::int64_t expires_unix_ms = 0) {
    WriteQueue::Writes node(1);
    Value& value = node.front().value;
    value.key = key_of(key);
    value.bytes = std::span(kBytes).first(bytes);
    if (parent) value.parent = key_of(*parent);
    value.expires_unix_ms = expires_unix_ms;
    bool found = false;
    queue.put(node, [&](bool expires) {
      found = expires;
      return ++number;
    });
    return found;
  }

  WriteQueue queue{100};
  std::uint64_t number = 0;
};

TEST_F(WriteQueueTest, WritesComeOutInTheirOrder) {
  put(1);
  put(2);
  WriteQueue::Writes question(1);
  queue.ask(question, ++number);
  WriteQueue::Writes taken;
  EXPECT_EQ(queue.first_number(), 1u);
  EXPECT_EQ(queue.take(taken), 10u);
  EXPECT_EQ(queue.first_number(), 2u);
  queue.take_all(taken);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(taken.size(), 3u);
  EXPECT_EQ(taken.back().number, 3u);
}

TEST_F(WriteQueueTest, AValueCountsUntilItIsDone) {
  put(1, 60);
  EXPECT_TRUE(queue.accepts(40, Urgency::kNormal));
  EXPECT_FALSE(queue.accepts(41, Urgency::kNormal));
  WriteQueue::Writes taken;
  queue.take(taken);
  EXPECT_TRUE(queue.contains(key_of(1)));
  EXPECT_FALSE(queue.accepts(41, Urgency::kNormal));
  queue.done(taken.front());
  EXPECT_FALSE(queue.contains(key_of(1)));
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST_F(WriteQueueTest, UrgentValuesMayExceedTheLimitByAnEighth) {
  put(1, 95);
  EXPECT_FALSE(queue.accepts(6, Urgency::kNormal));
  EXPECT_TRUE(queue.accepts(17, Urgency::kUrgent));
  EXPECT_FALSE(queue.accepts(18, Urgency::kUrgent));
}

TEST_F(WriteQueueTest, SeveralValuesOfAKeyCountEach) {
  put(1);
  put(1);
  WriteQueue::Writes taken;
  queue.take_all(taken);
  queue.done(taken.front());
  EXPECT_TRUE(queue.contains(key_of(1)));
  EXPECT_EQ(queue.last_number(key_of(1)), 2u);
  queue.done(taken.back());
  EXPECT_EQ(queue.last_number(key_of(1)), 0u);
}

TEST_F(WriteQueueTest, ParentsAreKnownWhileChildrenWait) {
  put(2, 10, 1);
  EXPECT_TRUE(queue.has_children(key_of(1)));
  WriteQueue::Writes taken;
  queue.take(taken);
  queue.done(taken.front());
  EXPECT_FALSE(queue.has_children(key_of(1)));
}

TEST_F(WriteQueueTest, TellsWhetherTheLastValueOfTheKeyHasAnEnd) {
  EXPECT_FALSE(put(1, 10, {}, 5000));
  EXPECT_TRUE(put(1));
  EXPECT_FALSE(put(1));
}

TEST_F(WriteQueueTest, AFailedPutLeavesNothing) {
  put(1, 10, 7);
  WriteQueue::Writes node(1);
  node.front().value.key = key_of(2);
  node.front().value.parent = key_of(3);
  EXPECT_THROW(queue.put(node, [](bool) -> std::uint64_t { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_FALSE(queue.contains(key_of(2)));
  EXPECT_FALSE(queue.has_children(key_of(3)));
  node.front().value.key = key_of(1);
  node.front().value.parent = key_of(7);
  EXPECT_THROW(queue.put(node, [](bool) -> std::uint64_t { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_TRUE(queue.contains(key_of(1)));
  EXPECT_TRUE(queue.has_children(key_of(7)));
  EXPECT_EQ(queue.bytes(), 10u);
}

}   // namespace
}   // namespace tensorcache::disk
