// Zero-copy conversion of tensors from and to DLPack. Include <dlpack/dlpack.h> (Debian:
// libdlpack-dev) to use the struct.
//
// Example:
//   DLManagedTensor* out = tensorcache::to_dlpack(cache.get("logits"));   // pins the value
//   const tensorcache::TensorView view = tensorcache::from_dlpack(*out);  // points into it
//   (void)cache.add("the same again", view);
//   out->deleter(out);                                                    // releases the pin
//
// THREADS: plain functions. ERRORS: std::invalid_argument that names the invalid argument.
#pragma once

#include <cstddef>

#include "tensorcache/tensor_cache.h"

struct DLManagedTensor;

namespace tensorcache {

// RETURNS a view of a producer's tensor. REQUIRES: `tensor` outlives the view. Throws for memory
// that is not on the CPU, for an element type without a DType (vectors, 4 bits, ...), and for more
// than kMaxRank axes.
[[nodiscard]] TensorView from_dlpack(const DLManagedTensor& tensor);

// RETURNS one part of a value, pinned until the consumer calls its deleter. The struct cannot
// express it, but the data is read-only: other readers share it. Bytes and text are exported as
// uint8. Throws std::out_of_range for a part that does not exist.
[[nodiscard]] DLManagedTensor* to_dlpack(const Hit& hit, std::size_t part = 0);

}   // namespace tensorcache
