// The layout of llama.cpp's sequence state, and how to cut it into blocks of tokens and put it
// together again.
//
// Source: llama_kv_cache::state_write of llama.cpp v0.5.0; native endian, no padding. The format is
// not promised by llama.cpp, so it is never assumed: KvFormat::learn() walks a state of the loaded
// model, and the engine proves it by a round trip.
//
//   u32 magic; i32 seq; then one payload (base), or two (base, sliding window), each:
//     u32 n_stream; for each stream: u32 cells, and if there are any:
//       for each cell: i32 pos; u32 n_seq (1); [ext]; i32 seq
//       u32 v_trans; u32 n_layer
//       for each layer:           i32 type; u64 row;                  cells x row bytes            (K)
//       for each layer that has V: i32 type; u64 row;                 cells x row bytes            (V, v_trans 0)
//                              or: i32 type; u32 element; u32 n_rows; n_rows x cells x element     (V, v_trans 1)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace tensorcache::model {

// A tensor within a payload: `rows` runs of cells x cell_bytes.
struct KvTensor {
  std::int32_t type = 0;
  std::uint32_t rows = 1;       // 1 for K and for V; the width of V where it is transposed
  std::size_t cell_bytes = 0;   // of one cell in one row
  bool transposed = false;

  friend bool operator==(const KvTensor&, const KvTensor&) = default;
};

struct KvPayloadFormat {
  std::size_t ext_bytes = 0;   // a cell's extra position data (models with multi-position rope)
  std::uint32_t v_trans = 0;
  std::uint32_t n_layer = 0;
  std::vector<KvTensor> tensors;   // all K, then all V

  // What one token takes.
  [[nodiscard]] std::size_t token_bytes() const;
  friend bool operator==(const KvPayloadFormat&, const KvPayloadFormat&) = default;
};

// One payload of one state: where its cells are.
struct KvPayloadView {
  std::vector<std::int32_t> positions;       // of the cells, in their order
  std::size_t meta_offset = 0;               // of the first cell's record
  std::vector<std::size_t> tensor_offsets;   // of the first byte of each tensor
};

class KvFormat {
 public:
  // Reads the format off a state that holds at least one cell. Nothing if the bytes are not laid
  // out as above.
  [[nodiscard]] static std::optional<KvFormat> learn(std::span<const std::byte> state);

  // Finds the cells in a state of this very format. Nothing if it differs in any header.
  [[nodiscard]] std::optional<std::vector<KvPayloadView>> view(std::span<const std::byte> state) const;

  // The bytes of a block of `tokens` tokens: for each payload, the cells' ext data, then each
  // tensor's rows.
  [[nodiscard]] std::size_t block_bytes(std::size_t tokens) const;

  // Copies tokens [first_position, first_position + tokens) out of a state into `block`, of
  // block_bytes(tokens). False if a payload does not hold all of them in order.
  [[nodiscard]] bool cut(std::span<const std::byte> state, const std::vector<KvPayloadView>& views, std::int32_t first_position, std::size_t tokens,
                         std::span<std::byte> block) const;

  // The size of a state of `tokens` tokens.
  [[nodiscard]] std::size_t state_bytes(std::size_t tokens) const;

  // Builds a state of the positions [0, tokens) for `sequence` in `state`, of state_bytes(tokens).
  // Every block must be of block_bytes(block_tokens), the last of what is left of `tokens`: false,
  // and nothing useful written, if one is not.
  [[nodiscard]] bool join(std::span<const std::span<const std::byte>> blocks, std::size_t block_tokens, std::size_t tokens, std::int32_t sequence,
                          std::span<std::byte> state) const;

  [[nodiscard]] const std::vector<KvPayloadFormat>& payloads() const { return payloads_; }
  [[nodiscard]] std::uint32_t n_stream() const { return n_stream_; }
  friend bool operator==(const KvFormat&, const KvFormat&) = default;

 private:
  std::uint32_t magic_ = 0;
  std::uint32_t n_stream_ = 0;
  std::vector<KvPayloadFormat> payloads_;
};

}   // namespace tensorcache::model
