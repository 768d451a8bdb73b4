#include "library/tensor/value_format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

#include "library/tensor/key_encoder.h"
#include "tensorcache/tensor_cache.h"

namespace tensorcache::tensor {
namespace {

std::vector<std::byte> written(const Encoder& encoder) {
  std::vector<std::byte> bytes(encoder.bytes(), std::byte{0xff});
  encoder.write(bytes);
  return bytes;
}

std::vector<std::byte> example() {
  static const float numbers[] = {1, 2, 3, 4, 5, 6};
  const TensorView parts[] = {TensorView::of(std::span<const float>(numbers), {2, 3}), TensorView::text("hello"), TensorView::bytes({})};
  Encoder encoder({.version = 0, .as_of = 7, .fresh_for = std::chrono::milliseconds(1500), .tags = {tag_id("a"), tag_id("b")}}, parts, "[0,1,2]");
  std::vector<std::byte> bytes = written(encoder);
  encoder.set_version(9, bytes);
  return bytes;
}

TEST(ValueFormat, GoesThereAndBack) {
  const auto bytes = example();
  const auto value = decode(bytes);
  ASSERT_TRUE(value);
  EXPECT_EQ(value->head.version, 9u);
  EXPECT_EQ(value->head.as_of, 7u);
  EXPECT_EQ(value->head.fresh_for.count(), 1500);
  EXPECT_FALSE(value->head.negative);
  EXPECT_EQ(value->head.tags, (std::vector<TagId>{tag_id("a"), tag_id("b")}));
  EXPECT_EQ(value->structure, "[0,1,2]");
  ASSERT_EQ(value->part_at.size(), 3u);
  EXPECT_EQ(value->part(0).shape, (Axes{2, 3}));
  EXPECT_EQ(value->part(0).elements<float>()[5], 6);
  EXPECT_EQ(value->part(1).characters(), "hello");
  EXPECT_EQ(value->part(2).count(), 0u);
}

// Other readers rely on these bytes (docs/format-tensor.md).
TEST(ValueFormat, IsWhatTheDocumentSays) {
  const std::uint16_t numbers[] = {0x0102, 0x0304};
  const TensorView part = TensorView::of(std::span<const std::uint16_t>(numbers), {2});
  Encoder encoder({}, std::span(&part, 1), "x");
  auto bytes = written(encoder);
  encoder.set_version(5, bytes);
  ASSERT_EQ(bytes.size(), 132u);
  const auto word = [&](std::size_t at) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
  };
  EXPECT_EQ(std::memcmp(bytes.data(), "TCT1", 4), 0);
  EXPECT_EQ(word(0) >> 32, 128u) << "bytes before the first part";
  EXPECT_EQ(word(8), 5u) << "version";
  EXPECT_EQ(word(16), 5u) << "as of";
  EXPECT_EQ(word(24), 0u) << "fresh for ever";
  EXPECT_EQ(word(32), 0u) << "no flags, no tags";
  EXPECT_EQ(word(40), 1u | std::uint64_t{1} << 32) << "one part, one byte of structure";
  EXPECT_EQ(word(64), 8u | 1u << 8) << "uint16, one axis";
  EXPECT_EQ(word(72), 128u) << "where it lies";
  EXPECT_EQ(word(80), 2u) << "shape";
  EXPECT_EQ(word(88), 1u) << "strides";
  EXPECT_EQ(word(96), std::uint64_t{'x'});
  EXPECT_EQ(bytes[128], std::byte{2});
}

// Keys are promised too: what C++ stored is found from Python.
TEST(ValueFormat, KeysStayWhatTheyAre) {
  const std::vector<std::int32_t> tokens = {1, 2};
  EXPECT_EQ(ItemKey(tokens).key(), Key::of(std::string("TCK1T\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 29)));
  EXPECT_EQ(ItemKey(tokens).key(), ItemKey(std::vector<std::int64_t>{1, 2}).key());
  EXPECT_EQ(ItemKey("ab").key(), Key::of(std::string("TCK1s\2\0\0\0\0\0\0\0ab", 15)));
  EXPECT_EQ(ItemKey(std::as_bytes(std::span("ab", 2))).key(), Key::of(std::string("TCK1b\2\0\0\0\0\0\0\0ab", 15)));
}

TEST(ValueFormat, ANegativeValueHasNoParts) {
  Encoder encoder({.negative = true}, {}, {});
  const auto bytes = written(encoder);
  ASSERT_TRUE(decode(bytes));
  EXPECT_TRUE(decode(bytes)->head.negative);
  EXPECT_THROW(Encoder({}, {}, {}), std::invalid_argument);
  const TensorView part = TensorView::text("x");
  EXPECT_THROW(Encoder({.negative = true}, std::span(&part, 1), {}), std::invalid_argument);
}

TEST(ValueFormat, WrongArgumentsAreNamed) {
  const TensorView part = TensorView::text("x");
  EXPECT_THROW(Encoder({.tags = std::vector<TagId>(kMaxTags + 1)}, std::span(&part, 1), {}), std::invalid_argument);
  const TensorView untyped{static_cast<DType>(99), "x", {1}, {1}}, negative{DType::kInt8, "x", {-1}, {1}};
  EXPECT_THROW(Encoder({}, std::span(&untyped, 1), {}), std::invalid_argument);
  EXPECT_THROW(Encoder({}, std::span(&negative, 1), {}), std::invalid_argument);
}

// The lengths of an empty tensor's other axes may be anything; found by the fuzz target.
TEST(ValueFormat, AnEmptyTensorOfHugeLengthsIsRefused) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 50;
  for (const Axes& shape : {Axes{0, kHuge, kHuge}, Axes{kHuge, kHuge, 0}}) {
    const TensorView part{DType::kInt8, "x", shape, {1, 1, 1}};
    EXPECT_THROW(Encoder({}, std::span(&part, 1), {}), std::invalid_argument);
    EXPECT_THROW(Tensor{part}, std::invalid_argument);
  }
  const TensorView empty{DType::kInt8, "x", {0, 1000}, {1000, 1}};
  EXPECT_EQ(decode(written(Encoder({}, std::span(&empty, 1), {})))->part(0).shape, (Axes{0, 1000}));
}

TEST(ValueFormat, AHeadThatEndsInItsMiddleIsRefused) {
  Encoder encoder({.negative = true}, {}, {});
  for (const std::uint32_t head_bytes : {0u, 32u, 63u}) {
    auto bytes = written(encoder);
    std::memcpy(bytes.data() + 4, &head_bytes, sizeof head_bytes);
    EXPECT_FALSE(decode(bytes)) << head_bytes;
  }
}

// Damage is met with a miss, never with a read outside the bytes (which the sanitizers would see).
TEST(ValueFormat, DamageIsNoValueOrStaysInside) {
  const auto good = example();
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(decode(std::span(good).first(size))) << size;
  std::mt19937_64 random(1);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = good;
    for (int i = 0; i < 3; ++i) bytes[random() % 320] = static_cast<std::byte>(random());
    const auto value = decode(bytes);
    if (!value) {
      ++refused;
      continue;
    }
    for (std::size_t i = 0; i < value->part_at.size(); ++i) {
      const TensorView part = value->part(i);
      const auto* begin = static_cast<const std::byte*>(part.data);
      ASSERT_GE(begin, bytes.data());
      ASSERT_LE(begin + part.nbytes(), bytes.data() + bytes.size());
    }
  }
  EXPECT_GT(refused, 1000);
}

}   // namespace
}   // namespace tensorcache::tensor
