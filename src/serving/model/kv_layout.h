// The layout of a sequence's K/V in a llama.cpp context, and the places of its rows.
//
// llama.cpp writes a sequence's state as small values (headers, one record per cell) and runs of
// tensor rows, and reads it back in the same order (llama_kv_cache::state_write of v0.5.0). It does
// not guarantee the format, so nothing is assumed: the calls are recorded as events and parsed, and
// the engine verifies the result with a round trip.
//
//   one payload (base), or two (base, sliding window), each:
//     u32 n_stream; for each stream: u32 cells, and if there are any:
//       for each cell: i32 pos; u32 n_seq (1); [ext]; i32 seq
//       u32 v_trans; u32 n_layer
//       for each layer:            i32 type; u64 row bytes; rows of the cells        (K)
//       for each layer that has V: i32 type; u64 row bytes; rows of the cells        (V, v_trans 0)
//         or: i32 type; u32 element bytes; u32 rows; rows x the cells                (V, v_trans 1)
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace tensorcache::model {

struct KvTensor {
  std::int32_t type = 0;
  std::uint32_t rows = 1;       // 1 for K and V; the width of V if it is transposed
  std::size_t cell_bytes = 0;   // size of one cell in one row
  bool transposed = false;

  friend bool operator==(const KvTensor&, const KvTensor&) = default;
};

struct KvPayload {
  std::size_t ext_bytes = 0;   // extra position data of a cell (models with multi-position rope)
  std::uint32_t v_trans = 0;
  std::uint32_t n_layer = 0;
  std::vector<KvTensor> tensors;   // all K, then all V

  [[nodiscard]] std::size_t token_bytes() const;
  friend bool operator==(const KvPayload&, const KvPayload&) = default;
};

struct KvLayout {
  std::uint32_t n_stream = 0;
  std::vector<KvPayload> payloads;

  // RETURNS the size of a block of `tokens` tokens: for each payload, the cells' ext data, then
  // each tensor's rows.
  [[nodiscard]] std::size_t block_bytes(std::size_t tokens) const;
  friend bool operator==(const KvLayout&, const KvLayout&) = default;
};

// A call by llama.cpp while it writes or reads a state: a small value, or a run of tensor rows.
struct KvEvent {
  void* tensor = nullptr;   // null: a value
  std::size_t offset = 0;   // of the rows within the tensor
  std::size_t bytes = 0;    // size of the value or the rows
  std::array<std::byte, 16> value{};

  static KvEvent of_value(std::span<const std::byte> value);   // REQUIRES: value.size() <= 16
  template <typename T>
  [[nodiscard]] T as() const {
    T result{};
    std::memcpy(&result, value.data(), sizeof result);
    return result;
  }
};

// The places of a sequence's K/V. Valid until cells of the sequence are removed or its state is
// restored; does not include tokens added later.
class KvPlaces {
 public:
  // RETURNS true if every payload has cells for tokens [first, first + count).
  [[nodiscard]] bool holds(std::size_t first, std::size_t count) const;

  // A run of bytes that is contiguous both in a tensor and in a block.
  struct Piece {
    void* tensor;
    std::size_t tensor_offset, block_offset, bytes;
  };
  // Calls `copy` with each piece of the first `count` tokens of a block of `block_tokens` tokens,
  // which begins with token `first`. Ext data is not included.
  // REQUIRES: holds(first, count), count <= block_tokens.
  template <typename Copy>
  void for_each_piece(std::size_t first, std::size_t count, std::size_t block_tokens, const Copy& copy) const;
  // Writes the ext data of these tokens into a block of `count` tokens.
  // REQUIRES: holds(first, count), block.size() == block_bytes(count).
  void write_ext(std::size_t first, std::size_t count, std::span<std::byte> block) const;

  // Calls `visit(tensor, format)` with each tensor.
  template <typename Visit>
  void for_each_tensor(const Visit& visit) const {
    for (std::size_t p = 0; p < payloads_.size(); ++p) {
      for (std::size_t t = 0; t < payloads_[p].tensors.size(); ++t) visit(payloads_[p].tensors[t], layout_.payloads[p].tensors[t]);
    }
  }
  // RETURNS the end of the cells that the sequence has, in the order of the tensors.
  [[nodiscard]] std::size_t end_cell() const;

  [[nodiscard]] const KvLayout& layout() const { return layout_; }

 private:
  friend std::optional<KvPlaces> parse_kv_events(std::span<const KvEvent> events);
  struct Cells {   // consecutive tokens in consecutive cells
    std::size_t first_token, first_cell, count;
    std::size_t ordinal;   // index of the first token in the payload
  };
  struct Payload {
    std::vector<Cells> cells;   // in the order of tokens
    std::vector<void*> tensors;
    std::vector<std::size_t> row_stride_bytes;   // between the rows of a transposed tensor
    std::vector<std::byte> ext;                  // in the order of tokens
  };
  [[nodiscard]] static const Cells& cells_of(const Payload& payload, std::size_t token);
  class Parser;

  KvLayout layout_;
  std::vector<Payload> payloads_;
};

// Parses the calls that wrote or read one sequence's state. RETURNS nothing if they have another
// layout, or the sequence has no cell.
[[nodiscard]] std::optional<KvPlaces> parse_kv_events(std::span<const KvEvent> events);

// RETURNS the values that llama.cpp must read to create cells for tokens [0, tokens), in order.
// `blocks`: the source of the ext data; each has `block_tokens` tokens, except the last, which has
// `last_block_tokens`, possibly more than are left of `tokens`.
[[nodiscard]] std::vector<KvEvent> kv_values(const KvLayout& layout, std::size_t tokens, std::span<const std::span<const std::byte>> blocks,
                                             std::size_t block_tokens, std::size_t last_block_tokens);

template <typename Copy>
void KvPlaces::for_each_piece(std::size_t first, std::size_t count, std::size_t block_tokens, const Copy& copy) const {
  std::size_t block_offset = 0;
  for (std::size_t p = 0; p < payloads_.size(); ++p) {
    const Payload& payload = payloads_[p];
    const KvPayload& format = layout_.payloads[p];
    block_offset += format.ext_bytes * block_tokens;
    for (std::size_t t = 0; t < format.tensors.size(); ++t) {
      const std::size_t cell_bytes = format.tensors[t].cell_bytes;
      for (std::size_t row = 0; row < format.tensors[t].rows; ++row, block_offset += cell_bytes * block_tokens) {
        for (std::size_t done = 0; done < count;) {
          const Cells& cells = cells_of(payload, first + done);
          const std::size_t skipped = first + done - cells.first_token;
          const std::size_t tokens = std::min(count - done, cells.count - skipped);
          copy(Piece{payload.tensors[t], row * payload.row_stride_bytes[t] + (cells.first_cell + skipped) * cell_bytes,
                     block_offset + done * cell_bytes, tokens * cell_bytes});
          done += tokens;
        }
      }
    }
  }
}

}   // namespace tensorcache::model
