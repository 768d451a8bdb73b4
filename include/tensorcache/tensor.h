// Typed tensors, the values of a TensorCache: element type, shape, strides and elements.
//
// Example:
//   const std::vector<float> logits = {0.1f, 0.7f, 0.2f, 0.5f, 0.3f, 0.2f};
//   const std::span<const float> elements(logits);
//   const auto view = tensorcache::TensorView::of(elements, {2, 3});   // no copy
//   const tensorcache::Tensor copy(view);                  // owns its elements
//   float second_row = copy.view().elements<float>()[3];   // 0.5
//
// THREADS: plain values; concurrent reads are safe.
// ERRORS: std::invalid_argument that names the invalid argument.
#pragma once

#include <algorithm>
#include <array>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tensorcache/attributes.h"

namespace tensorcache {

// Stored in formats: add, never renumber. kBytes and kText (UTF-8) have one byte per element.
enum class DType : std::uint8_t {
  kBytes = 0,
  kText = 1,
  kBool = 2,
  kInt8 = 3,
  kInt16 = 4,
  kInt32 = 5,
  kInt64 = 6,
  kUInt8 = 7,
  kUInt16 = 8,
  kUInt32 = 9,
  kUInt64 = 10,
  kFloat16 = 11,
  kBFloat16 = 12,
  kFloat32 = 13,
  kFloat64 = 14,
  kComplex64 = 15,
  kComplex128 = 16,
};
inline constexpr std::size_t kDTypeCount = 17;
// RETURNS the size of one element in bytes; 0 for an invalid DType.
[[nodiscard]] std::size_t dtype_bytes(DType dtype);
// RETURNS "float32", "int64", "bytes", ...; "unknown" for an invalid DType.
[[nodiscard]] std::string_view dtype_name(DType dtype);

// The DType of a C++ type. kBytes for std::byte, kText for char.
template <class T>
[[nodiscard]] constexpr DType dtype_of() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, std::byte>)
    return DType::kBytes;
  else if constexpr (std::is_same_v<U, char>)
    return DType::kText;
  else if constexpr (std::is_same_v<U, bool>)
    return DType::kBool;
  else if constexpr (std::is_same_v<U, float>)
    return DType::kFloat32;
  else if constexpr (std::is_same_v<U, double>)
    return DType::kFloat64;
  else if constexpr (std::is_same_v<U, std::complex<float>>)
    return DType::kComplex64;
  else if constexpr (std::is_same_v<U, std::complex<double>>)
    return DType::kComplex128;
  else {
    static_assert(std::is_integral_v<U> && sizeof(U) <= 8, "no DType has elements of this type");
    constexpr std::size_t log2 = sizeof(U) == 1 ? 0 : sizeof(U) == 2 ? 1 : sizeof(U) == 4 ? 2 : 3;
    return static_cast<DType>((std::is_signed_v<U> ? 3 : 7) + log2);
  }
}

inline constexpr std::size_t kMaxRank = 16;

// Up to kMaxRank lengths or strides, in elements; empty for a scalar.
class Axes {
 public:
  Axes() = default;
  Axes(std::initializer_list<std::int64_t> values) : Axes(std::span(values.begin(), values.size())) {}
  Axes(std::span<const std::int64_t> values);   // NOLINT: implicit. Throws for more than kMaxRank
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::int64_t operator[](std::size_t axis) const { return values_[axis]; }
  [[nodiscard]] std::int64_t& operator[](std::size_t axis) { return values_[axis]; }
  [[nodiscard]] const std::int64_t* data() const { return values_.data(); }
  [[nodiscard]] const std::int64_t* begin() const { return values_.data(); }
  [[nodiscard]] const std::int64_t* end() const { return values_.data() + size_; }
  friend bool operator==(const Axes& a, const Axes& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

 private:
  std::array<std::int64_t, kMaxRank> values_{};
  std::size_t size_ = 0;
};

// Row-major strides of a shape, in elements.
[[nodiscard]] Axes row_major(const Axes& shape);

// A non-owning view of elements. REQUIRES: the elements outlive the view.
struct TensorView {
  DType dtype = DType::kBytes;
  const void* data = nullptr;   // address of the element with index 0 on every axis
  Axes shape;
  Axes strides;   // in elements; may be negative, zero or have gaps when the view is stored

  template <class T>
  [[nodiscard]] static TensorView of(std::span<const T> elements, const Axes& shape) {
    return checked({dtype_of<T>(), elements.data(), shape, row_major(shape)}, elements.size());
  }
  [[nodiscard]] static TensorView bytes(std::span<const std::byte> value);
  [[nodiscard]] static TensorView text(std::string_view value);   // UTF-8

  [[nodiscard]] std::size_t rank() const { return shape.size(); }
  [[nodiscard]] std::size_t count() const;    // of elements
  [[nodiscard]] std::size_t nbytes() const;   // count() elements, without gaps
  // RETURNS whether the elements have no gaps, in some order of the axes. Stored values are always
  // dense.
  [[nodiscard]] bool is_dense() const;

  // RETURNS all elements in memory order. Throws if the element type is not T, or the view is not
  // dense.
  template <class T>
  [[nodiscard]] std::span<const T> elements() const {
    require(dtype_of<T>());
    return {static_cast<const T*>(data), count()};
  }
  [[nodiscard]] std::string_view characters() const;   // of kBytes or kText; throws for others

 private:
  [[nodiscard]] static TensorView checked(TensorView view, std::size_t elements);
  void require(DType wanted) const;
};

// A dense tensor that owns its elements.
class Tensor {
 public:
  Tensor() = default;
  // Copies. A dense view keeps its strides; any other is packed in row-major order.
  // Throws for an invalid dtype or shape.
  explicit Tensor(const TensorView& view);
  // Uninitialized elements; write them through data().
  Tensor(DType dtype, const Axes& shape);
  [[nodiscard]] static Tensor text(std::string_view value) { return Tensor(TensorView::text(value)); }

  [[nodiscard]] std::span<std::byte> data() TENSORCACHE_LIFETIME_BOUND { return data_; }
  [[nodiscard]] TensorView view() const TENSORCACHE_LIFETIME_BOUND { return {dtype_, data_.data(), shape_, strides_}; }

 private:
  DType dtype_ = DType::kBytes;
  Axes shape_{0};
  Axes strides_{1};
  std::vector<std::byte> data_;
};

// RETURNS the strides in which a view is stored: its own if it is dense, else row-major.
[[nodiscard]] Axes dense_strides(const TensorView& view);
// Copies the elements to `to` (view.nbytes() bytes) in that layout. Throws for an invalid dtype or
// shape.
void pack(const TensorView& view, std::byte* to);

}   // namespace tensorcache
