// Typed tensors as they go into a TensorCache and come out of it: element type, shape, strides, and where the elements are.
//
// Example:
//   const std::vector<float> logits = {0.1f, 0.7f, 0.2f, 0.5f, 0.3f, 0.2f};
//   const auto view = tensorcache::TensorView::of(std::span<const float>(logits), {2, 3});   // 2 rows of 3; nothing is copied
//   const tensorcache::Tensor copy(view);                                                    // its own elements
//   float second_row = copy.view().elements<float>()[3];                                     // 0.5
//
// Threads: plain values; each may be read by many threads at once.
// Errors: std::invalid_argument that says what was wrong.
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

namespace tensorcache {

// Stored in formats: add, never renumber. kBytes and kText (UTF-8) have one byte an element.
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
// Of one element, in bytes; 0 for a number that is no DType.
[[nodiscard]] std::size_t dtype_bytes(DType dtype);
// "float32", "int64", "bytes", ...; "unknown" for a number that is no DType.
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

// Up to kMaxRank lengths or strides, in elements; a scalar's is empty.
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

// Somebody else's elements. Owns nothing: what it points at must outlive it.
struct TensorView {
  DType dtype = DType::kBytes;
  const void* data = nullptr;   // of the element with index 0 along every axis
  Axes shape;
  Axes strides;   // in elements; negative, zero or with gaps is fine for what goes into a cache

  template <class T>
  [[nodiscard]] static TensorView of(std::span<const T> elements, const Axes& shape) {
    return checked({dtype_of<T>(), elements.data(), shape, row_major(shape)}, elements.size());
  }
  [[nodiscard]] static TensorView bytes(std::span<const std::byte> value);
  [[nodiscard]] static TensorView text(std::string_view value);   // UTF-8

  [[nodiscard]] std::size_t rank() const { return shape.size(); }
  [[nodiscard]] std::size_t count() const;    // of elements
  [[nodiscard]] std::size_t nbytes() const;   // count() elements, without gaps
  // Whether the elements lie without gaps, in some order of the axes: what is stored is always so.
  [[nodiscard]] bool is_dense() const;

  // All elements in memory order. Throws if they are not T's, or do not lie without gaps.
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

// A tensor with its own elements, dense.
class Tensor {
 public:
  Tensor() = default;
  // Copies. What is dense keeps its strides; anything else is packed in row-major order. Throws for a wrong dtype or shape.
  explicit Tensor(const TensorView& view);
  // Elements not set; write them through data().
  Tensor(DType dtype, const Axes& shape);
  [[nodiscard]] static Tensor text(std::string_view value) { return Tensor(TensorView::text(value)); }

  [[nodiscard]] std::span<std::byte> data() { return data_; }
  [[nodiscard]] TensorView view() const { return {dtype_, data_.data(), shape_, strides_}; }

 private:
  DType dtype_ = DType::kBytes;
  Axes shape_{0};
  Axes strides_{1};
  std::vector<std::byte> data_;
};

// The layout a view is stored in: its own strides if it is dense, else row-major.
[[nodiscard]] Axes dense_strides(const TensorView& view);
// Copies the elements to `to` (view.nbytes() bytes) in that layout. Throws for a wrong dtype or shape.
void pack(const TensorView& view, std::byte* to);

}   // namespace tensorcache
