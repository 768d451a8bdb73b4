// The memory of a context's KV cache: touched as it is used, and given back.
#pragma once

#include <llama.h>

#include <cstddef>
#include <mutex>
#include <optional>
#include <vector>

#include "serving/model/kv_layout.h"

namespace tensorcache::llama {

// While it exists, ggml's large buffers in the CPU's memory are pages that the system zeroes when they are touched first. llama.cpp clears
// the KV cache when it makes a context; otherwise that would touch all of it.
// THREADS: one of them exists at a time; others wait.
class UntouchedBuffers {
 public:
  UntouchedBuffers();
  ~UntouchedBuffers();
  UntouchedBuffers(const UntouchedBuffers&) = delete;
  UntouchedBuffers& operator=(const UntouchedBuffers&) = delete;

 private:
  std::unique_lock<std::mutex> lock_;
};

// The pages of each sequence's part of the KV cache, where each sequence has cells of its own.
class SequencePages {
 public:
  // `places`: of sequence 0 of the context. RETURNS none if the sequences share their cells, or these are not in the CPU's memory.
  [[nodiscard]] static std::optional<SequencePages> of(const model::KvPlaces& places, std::size_t sequences);

  // Gives the memory of the cells from `first_cell` on back to the system: they read as zeros. Rows of transposed tensors are given back
  // for `first_cell` 0 only. Cost: a system call for each tensor.
  // REQUIRES: the sequence has no cell there.
  void give_back(llama_seq_id sequence, std::size_t first_cell) const;

  // Has the system provide the memory of the first `cells` cells; their contents stay. COST: a second for some GiB.
  void make_ready(llama_seq_id sequence, std::size_t cells) const;

 private:
  struct Tensor {
    std::byte* data;   // of sequence 0
    std::size_t sequence_bytes, cell_bytes;
    bool transposed;
  };
  std::vector<Tensor> tensors_;
};

}   // namespace tensorcache::llama
