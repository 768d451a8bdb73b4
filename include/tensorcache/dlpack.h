// Tensors from and to anything that speaks DLPack, without a copy. Include <dlpack/dlpack.h> (Debian: libdlpack-dev) to use the struct.
//
// Example:
//   DLManagedTensor* out = tensorcache::to_dlpack(cache.get("logits"));   // pins the value
//   const tensorcache::TensorView view = tensorcache::from_dlpack(*out);  // points into it
//   (void)cache.add("the same again", view);
//   out->deleter(out);                                                    // lets go of it
//
// Threads: plain functions. Errors: std::invalid_argument that says what was wrong.
#pragma once

#include <cstddef>

#include "tensorcache/tensor_cache.h"

struct DLManagedTensor;

namespace tensorcache {

// A view of what a producer gave, which must outlive it. Throws for memory that is not the CPU's, for an element type that has no DType
// (vectors, 4 bits, ...), and for more than kMaxRank axes.
[[nodiscard]] TensorView from_dlpack(const DLManagedTensor& tensor);

// One part of a value, pinned until whoever gets it calls its deleter. The struct has no way to say so, but it is read-only: others
// hold the same bytes. Bytes and text go out as uint8. Throws std::out_of_range for a part that is not there.
[[nodiscard]] DLManagedTensor* to_dlpack(const Hit& hit, std::size_t part = 0);

}   // namespace tensorcache
