// Computes the size of a tensor of any shape, with overflow checks.
#pragma once

#include <cstdint>
#include <optional>

#include "tensorcache/tensor.h"

namespace tensorcache::tensor {

inline constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 47;   // larger than any address space

// RETURNS the size of the elements without gaps; nothing for an invalid or too large shape, even if
// it is empty: arithmetic on accepted shapes never overflows.
[[nodiscard]] inline std::optional<std::uint64_t> bytes_of(DType dtype, const Axes& shape) {
  std::uint64_t bytes = dtype_bytes(dtype);
  if (bytes == 0) return std::nullopt;
  bool empty = false;
  for (const std::int64_t length : shape) {
    if (length < 0) return std::nullopt;
    empty = empty || length == 0;
    if (length > 0 && (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(length), &bytes) || bytes > kMaxBytes)) return std::nullopt;
  }
  return empty ? 0 : bytes;
}

}   // namespace tensorcache::tensor
