#include "tensorcache/dlpack.h"

#include <dlpack/dlpack.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace tensorcache {
namespace {

TEST(DLPack, GoesOutAndComesBack) {
  TensorCache cache({});
  const std::vector<float> numbers = {1, 2, 3, 4, 5, 6};
  const TensorView columns{DType::kFloat32, numbers.data(), {3, 2}, {1, 3}};
  ASSERT_TRUE(cache.add("k", columns));
  DLManagedTensor* out = to_dlpack(cache.get("k"));
  cache.clear();   // the consumer's pin holds the bytes
  EXPECT_EQ(out->dl_tensor.ndim, 2);
  EXPECT_EQ(out->dl_tensor.shape[0], 3);
  EXPECT_EQ(out->dl_tensor.strides[1], 3);
  EXPECT_EQ(out->dl_tensor.dtype.code, kDLFloat);
  EXPECT_EQ(out->dl_tensor.dtype.bits, 32);
  const TensorView view = from_dlpack(*out);
  EXPECT_EQ(view.shape, (Axes{3, 2}));
  EXPECT_EQ(view.strides, (Axes{1, 3}));
  EXPECT_EQ(view.elements<float>()[5], 6);
  out->deleter(out);
}

TEST(DLPack, EveryTypeButTextAndBytesIsItselfAgain) {
  TensorCache cache({});
  for (std::size_t number = 0; number < kDTypeCount; ++number) {
    const auto dtype = static_cast<DType>(number);
    ASSERT_TRUE(cache.add("k", Tensor(dtype, {3}).view()));
    DLManagedTensor* out = to_dlpack(cache.get("k"));
    EXPECT_EQ(from_dlpack(*out).dtype, number < 2 ? DType::kUInt8 : dtype) << dtype_name(dtype);
    out->deleter(out);
  }
  EXPECT_THROW((void)to_dlpack(cache.get("k"), 1), std::out_of_range);
  EXPECT_THROW((void)to_dlpack(Hit()), std::out_of_range);
}

TEST(DLPack, WhatOthersGiveIsChecked) {
  std::int64_t shape[] = {2};
  float data[] = {0, 1, 2};
  DLManagedTensor tensor{};
  tensor.dl_tensor = {data, {kDLCPU, 0}, 1, {kDLFloat, 32, 1}, shape, nullptr, sizeof(float)};
  EXPECT_EQ(from_dlpack(tensor).elements<float>()[1], 2) << "no strides: row-major; from an offset on";
  const auto message = [&] {
    try {
      (void)from_dlpack(tensor);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  tensor.dl_tensor.dtype.lanes = 4;
  EXPECT_NE(message().find("4 lanes"), std::string::npos);
  tensor.dl_tensor.dtype = {kDLFloat, 8, 1};
  EXPECT_NE(message().find("8 bits"), std::string::npos);
  tensor.dl_tensor.dtype = {kDLFloat, 32, 1};
  tensor.dl_tensor.device.device_type = kDLCUDA;
  EXPECT_NE(message().find("device"), std::string::npos);
  tensor.dl_tensor.device.device_type = kDLCPU;
  tensor.dl_tensor.ndim = 17;
  std::int64_t many[17] = {};
  tensor.dl_tensor.shape = many;
  EXPECT_NE(message().find("17 axes"), std::string::npos);
  tensor.dl_tensor.ndim = 1;
  tensor.dl_tensor.shape = nullptr;
  EXPECT_NE(message().find("shape"), std::string::npos);
  std::int64_t huge[] = {std::int64_t{1} << 40, std::int64_t{1} << 40};
  tensor.dl_tensor.ndim = 2;
  tensor.dl_tensor.shape = huge;
  EXPECT_NE(message().find("too many"), std::string::npos);
  tensor.dl_tensor.shape = shape;
  tensor.dl_tensor.ndim = 1;
  tensor.dl_tensor.data = nullptr;
  EXPECT_NE(message().find("null"), std::string::npos);
}

TEST(DLPack, EmptyTensorsAndScalars) {
  TensorCache cache({});
  const Tensor empty(DType::kFloat32, {0, 3}), scalar(DType::kFloat64, {});
  for (const Tensor* tensor : {&empty, &scalar}) {
    ASSERT_TRUE(cache.add("k", tensor->view()));
    DLManagedTensor* out = to_dlpack(cache.get("k"));
    EXPECT_EQ(from_dlpack(*out).shape, tensor->view().shape);
    ASSERT_TRUE(cache.add("again", from_dlpack(*out)));
    out->deleter(out);
    EXPECT_EQ(cache.get("again").tensor().shape, tensor->view().shape);
  }
}

}   // namespace
}   // namespace tensorcache
