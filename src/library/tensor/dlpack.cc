#include "tensorcache/dlpack.h"

#include <dlpack/dlpack.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "library/tensor/tensor_size.h"

namespace tensorcache {
namespace {

DLDataType dl_type(DType dtype) {
  const auto bits = static_cast<std::uint8_t>(8 * dtype_bytes(dtype));
  switch (dtype) {
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
      return {kDLInt, bits, 1};
    case DType::kFloat16:
    case DType::kFloat32:
    case DType::kFloat64:
      return {kDLFloat, bits, 1};
    case DType::kBFloat16:
      return {kDLBfloat, bits, 1};
    case DType::kComplex64:
    case DType::kComplex128:
      return {kDLComplex, bits, 1};
    case DType::kBool:
      return {6 /* kDLBool, which older headers do not have */, bits, 1};
    default:
      return {kDLUInt, bits, 1};
  }
}

DType dtype_from(DLDataType type) {
  if (type.lanes == 1) {
    for (std::size_t number = static_cast<std::size_t>(DType::kBool); number < kDTypeCount; ++number) {
      const DLDataType known = dl_type(static_cast<DType>(number));
      if (known.code == type.code && known.bits == type.bits) return static_cast<DType>(number);
    }
  }
  throw std::invalid_argument("dtype: DLPack's code " + std::to_string(type.code) + " with " + std::to_string(type.bits) + " bits and " +
                              std::to_string(type.lanes) + " lanes has no DType; convert it first");
}

// The memory of an exported tensor: the struct, its axes, and the pin.
struct Exported {
  explicit Exported(const Hit& source, std::size_t part) : hit(source), view(source.tensor(part)) {
    managed.dl_tensor.data = const_cast<void*>(view.data);
    managed.dl_tensor.device = {kDLCPU, 0};
    managed.dl_tensor.ndim = static_cast<int>(view.rank());
    managed.dl_tensor.dtype = dl_type(view.dtype);
    managed.dl_tensor.shape = const_cast<std::int64_t*>(view.shape.data());
    managed.dl_tensor.strides = const_cast<std::int64_t*>(view.strides.data());
    managed.dl_tensor.byte_offset = 0;
    managed.manager_ctx = this;
    managed.deleter = [](DLManagedTensor* self) { delete static_cast<Exported*>(self->manager_ctx); };
  }
  Hit hit;
  TensorView view;
  DLManagedTensor managed{};
};

}   // namespace

TensorView from_dlpack(const DLManagedTensor& managed) {
  const DLTensor& given = managed.dl_tensor;
  if (given.device.device_type != kDLCPU) throw std::invalid_argument("device: not the CPU's memory; copy the tensor there first");
  if (given.ndim < 0) throw std::invalid_argument("shape: a negative number of axes");
  if (given.ndim > 0 && given.shape == nullptr) throw std::invalid_argument("shape: is null");
  const auto rank = static_cast<std::size_t>(given.ndim);
  TensorView view;
  view.dtype = dtype_from(given.dtype);
  view.shape = Axes(std::span<const std::int64_t>(given.shape, rank));
  view.strides = given.strides != nullptr ? Axes(std::span<const std::int64_t>(given.strides, rank)) : row_major(view.shape);
  const std::optional<std::uint64_t> bytes = tensor::bytes_of(view.dtype, view.shape);
  if (!bytes) throw std::invalid_argument("shape: a negative length, or too many elements");
  if (given.data == nullptr && *bytes > 0) throw std::invalid_argument("data: must not be null if the shape has elements");
  if (given.data != nullptr) view.data = static_cast<const std::byte*>(given.data) + given.byte_offset;
  return view;
}

DLManagedTensor* to_dlpack(const Hit& hit, std::size_t part) { return &std::make_unique<Exported>(hit, part).release()->managed; }

}   // namespace tensorcache
