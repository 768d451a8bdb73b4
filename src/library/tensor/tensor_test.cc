#include "tensorcache/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>
#include <string>

namespace tensorcache {
namespace {

std::vector<std::int32_t> counting(std::size_t count) {
  std::vector<std::int32_t> values(count);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Tensor, KnowsItsTypes) {
  for (std::size_t number = 0; number < kDTypeCount; ++number) {
    EXPECT_GT(dtype_bytes(static_cast<DType>(number)), 0u) << number;
    EXPECT_NE(dtype_name(static_cast<DType>(number)), "unknown") << number;
  }
  EXPECT_EQ(dtype_bytes(static_cast<DType>(kDTypeCount)), 0u);
  EXPECT_EQ(dtype_name(dtype_of<std::int16_t>()), "int16");
  EXPECT_EQ(dtype_name(dtype_of<std::uint64_t>()), "uint64");
  EXPECT_EQ(dtype_name(dtype_of<const double>()), "float64");
}

TEST(Tensor, KeepsDenseStrides) {
  const auto values = counting(6);
  const TensorView columns{DType::kInt32, values.data(), {2, 3}, {1, 2}};   // column by column
  EXPECT_TRUE(columns.is_dense());
  const Tensor copy(columns);
  EXPECT_EQ(copy.view().strides, (Axes{1, 2}));
  EXPECT_EQ(copy.view().elements<std::int32_t>()[4], 4);
}

TEST(Tensor, PacksWhatHasGaps) {
  const auto values = counting(24);
  // Every second element of every second row of 4x6, the last row first.
  const TensorView odd{DType::kInt32, values.data() + 18, {2, 3}, {-12, 2}};
  EXPECT_FALSE(odd.is_dense());
  const Tensor copy(odd);
  const auto elements = copy.view().elements<std::int32_t>();
  EXPECT_EQ(std::vector<std::int32_t>(elements.begin(), elements.end()), (std::vector<std::int32_t>{18, 20, 22, 6, 8, 10}));
  const TensorView repeated{DType::kInt32, values.data() + 5, {3}, {0}};
  EXPECT_EQ(Tensor(repeated).view().elements<std::int32_t>()[2], 5);
}

// What others give as the stride of an axis of one element says nothing.
TEST(Tensor, StridesOfAxesOfOneElementMayBeAnything) {
  const auto values = counting(6);
  const TensorView odd{DType::kInt32, values.data(), {1, 3, 1}, {INT64_MAX, 2, INT64_MIN}};
  const Tensor copy(odd);
  EXPECT_EQ(copy.view().elements<std::int32_t>()[2], 4);
}

TEST(Tensor, ScalarsAndEmptyOnes) {
  const double pi = 3.14;
  const Tensor scalar(TensorView::of(std::span(&pi, 1), Axes()));
  EXPECT_EQ(scalar.view().rank(), 0u);
  EXPECT_EQ(scalar.view().elements<double>()[0], pi);
  const Tensor empty(TensorView::of(std::span<const float>(), {0, 5}));
  EXPECT_EQ(empty.view().count(), 0u);
  EXPECT_EQ(empty.view().shape, (Axes{0, 5}));
  EXPECT_EQ(Tensor().view().nbytes(), 0u);
}

TEST(Tensor, SaysWhatIsWrong) {
  const auto values = counting(6);
  const std::span<const std::int32_t> six(values);
  EXPECT_NE(message_of([&] { (void)TensorView::of(six, {4, 2}); }).find("has 8 elements, but 6 are given"), std::string::npos);
  EXPECT_NE(message_of([&] { (void)TensorView::of(six, {-1, -6}); }).find("negative"), std::string::npos);
  EXPECT_NE(message_of([&] { (void)Axes(std::vector<std::int64_t>(17, 1)); }).find("17 axes"), std::string::npos);
  EXPECT_NE(message_of([&] { (void)TensorView::of(six, {6}).elements<float>(); }).find("int32, not float32"), std::string::npos);
  EXPECT_NE(message_of([&] { (void)TensorView{DType::kInt32, values.data(), {3}, {2}}.elements<std::int32_t>(); }).find("gaps"), std::string::npos);
  EXPECT_NE(message_of([&] { (void)Tensor(DType::kInt8, {1 << 30, 1 << 30, 1 << 30}); }).find("too many"), std::string::npos);
  EXPECT_NE(message_of([&] { (void)Tensor(TensorView{DType::kInt8, nullptr, {3}, {1}}); }).find("null"), std::string::npos);
  EXPECT_NE(message_of([&] { (void)Tensor(TensorView{DType::kInt8, values.data(), {3}, {}}); }).find("strides"), std::string::npos);
}

}   // namespace
}   // namespace tensorcache
