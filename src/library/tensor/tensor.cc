#include "tensorcache/tensor.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

#include "library/tensor/tensor_size.h"

namespace tensorcache {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::size_t bytes;
};
constexpr DTypeInfo kDTypes[kDTypeCount] = {{"bytes", 1},    {"text", 1},    {"bool", 1},    {"int8", 1},      {"int16", 2},      {"int32", 4},
                                            {"int64", 8},    {"uint8", 1},   {"uint16", 2},  {"uint32", 4},    {"uint64", 8},     {"float16", 2},
                                            {"bfloat16", 2}, {"float32", 4}, {"float64", 8}, {"complex64", 8}, {"complex128", 16}};

// Throws for an invalid tensor.
std::size_t checked_count(const TensorView& view) {
  const std::size_t element = dtype_bytes(view.dtype);
  if (element == 0) throw std::invalid_argument("dtype: " + std::to_string(static_cast<int>(view.dtype)) + " is not a DType");
  if (view.strides.size() != view.shape.size()) throw std::invalid_argument("strides: there must be one for each axis of the shape");
  for (const std::int64_t length : view.shape) {
    if (length < 0) throw std::invalid_argument("shape: a length must not be negative");
  }
  const std::optional<std::uint64_t> bytes = tensor::bytes_of(view.dtype, view.shape);
  if (!bytes) throw std::invalid_argument("shape: too many elements");
  return *bytes / element;
}

void copy_axis(const TensorView& view, std::size_t axis, std::size_t element, const std::byte* from, std::byte*& to) {
  const std::int64_t length = view.shape[axis];
  const std::int64_t step =
      length == 1 ? 0 : view.strides[axis] * static_cast<std::int64_t>(element);   // the stride of an axis of length 1 is irrelevant
  const bool last = axis + 1 == view.rank();
  if (last && step == static_cast<std::int64_t>(element)) {
    std::memcpy(to, from, static_cast<std::size_t>(length) * element);
    to += static_cast<std::size_t>(length) * element;
    return;
  }
  for (std::int64_t i = 0; i < length; ++i) {
    if (last) {
      std::memcpy(to, from + i * step, element);
      to += element;
    } else {
      copy_axis(view, axis + 1, element, from + i * step, to);
    }
  }
}

}   // namespace

std::size_t dtype_bytes(DType dtype) {
  const auto number = static_cast<std::size_t>(dtype);
  return number < kDTypeCount ? kDTypes[number].bytes : 0;
}

std::string_view dtype_name(DType dtype) {
  const auto number = static_cast<std::size_t>(dtype);
  return number < kDTypeCount ? kDTypes[number].name : "unknown";
}

Axes::Axes(std::span<const std::int64_t> values) : size_(values.size()) {
  if (values.size() > kMaxRank) {
    throw std::invalid_argument("shape: " + std::to_string(values.size()) + " axes; the maximum is " + std::to_string(kMaxRank));
  }
  std::copy(values.begin(), values.end(), values_.begin());
}

Axes row_major(const Axes& shape) {
  Axes strides = shape;
  std::int64_t step = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] = step;
    if (__builtin_mul_overflow(step, std::max<std::int64_t>(shape[axis], 1), &step)) throw std::invalid_argument("shape: too many elements");
  }
  return strides;
}

TensorView TensorView::checked(TensorView view, std::size_t elements) {
  if (checked_count(view) != elements) {
    throw std::invalid_argument("shape: has " + std::to_string(view.count()) + " elements, but " + std::to_string(elements) + " are given");
  }
  return view;
}

TensorView TensorView::bytes(std::span<const std::byte> value) {
  return {DType::kBytes, value.data(), {static_cast<std::int64_t>(value.size())}, {1}};
}

TensorView TensorView::text(std::string_view value) { return {DType::kText, value.data(), {static_cast<std::int64_t>(value.size())}, {1}}; }

std::size_t TensorView::count() const {
  return static_cast<std::size_t>(std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
}

std::size_t TensorView::nbytes() const { return count() * dtype_bytes(dtype); }

bool TensorView::is_dense() const {
  std::array<std::size_t, kMaxRank> order{};
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.begin() + rank(), [&](std::size_t a, std::size_t b) { return strides[a] < strides[b]; });
  std::int64_t step = 1;
  for (std::size_t i = 0; i < rank(); ++i) {
    if (shape[order[i]] == 1) continue;   // its stride is irrelevant
    if (strides[order[i]] != step) return count() == 0;
    step *= shape[order[i]];
  }
  return true;
}

void TensorView::require(DType wanted) const {
  if (dtype != wanted) {
    throw std::invalid_argument("dtype: the elements are " + std::string(dtype_name(dtype)) + ", not " + std::string(dtype_name(wanted)));
  }
  if (!is_dense()) throw std::invalid_argument("strides: the elements have gaps between them; copy them into a Tensor first");
}

std::string_view TensorView::characters() const {
  if (dtype != DType::kText) require(DType::kBytes);
  return {static_cast<const char*>(data), count()};
}

Tensor::Tensor(const TensorView& view) : dtype_(view.dtype), shape_(view.shape) {
  data_.resize(checked_count(view) * dtype_bytes(view.dtype));
  strides_ = dense_strides(view);
  pack(view, data_.data());
}

Tensor::Tensor(DType dtype, const Axes& shape) : dtype_(dtype), shape_(shape), strides_(row_major(shape)) {
  data_.resize(checked_count(view()) * dtype_bytes(dtype));
}

Axes dense_strides(const TensorView& view) { return view.is_dense() && view.count() > 0 ? view.strides : row_major(view.shape); }

void pack(const TensorView& view, std::byte* to) {
  if (checked_count(view) == 0) return;
  if (view.data == nullptr) throw std::invalid_argument("data: must not be null if the shape has elements");
  if (view.is_dense()) {
    std::memcpy(to, view.data, view.nbytes());
  } else {
    copy_axis(view, 0, dtype_bytes(view.dtype), static_cast<const std::byte*>(view.data), to);
  }
}

}   // namespace tensorcache
