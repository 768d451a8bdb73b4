// Copies K/V between a sequence's cells in a llama.cpp context and blocks, each byte once and without a buffer between them.
#pragma once

#include <llama.h>

#include <cstddef>
#include <optional>
#include <span>

#include "serving/model/kv_layout.h"

namespace tensorcache::llama {

// RETURNS where the K/V of a computed sequence lies; none if the sequence is empty or llama.cpp's layout is not known.
// THREADS: all functions here on the context's thread. They wait for what the context computes.
[[nodiscard]] std::optional<model::KvPlaces> locate(llama_context* context, llama_seq_id sequence);

// Replaces a sequence by cells for tokens [0, tokens), whose K/V is undefined until copy_in() has written all of it. See
// model::kv_values for the blocks. RETURNS none, and leaves the sequence empty, if the context has no room for it.
[[nodiscard]] std::optional<model::KvPlaces> make_cells(llama_context* context, llama_seq_id sequence, const model::KvLayout& layout,
                                                        std::size_t tokens, std::span<const std::span<const std::byte>> blocks,
                                                        std::size_t block_tokens, std::size_t last_block_tokens);

// Fills a block with the K/V of tokens [first, first + count). False if the places do not hold them.
// REQUIRES: block.size() == layout.block_bytes(count).
[[nodiscard]] bool copy_out(const model::KvPlaces& from, std::size_t first, std::size_t count, std::span<std::byte> block);

// Writes the K/V of the leading `count` tokens of a block of `block_tokens` tokens, of which `first` is the first.
// REQUIRES: to.holds(first, count), block.size() == layout.block_bytes(block_tokens).
void copy_in(const model::KvPlaces& to, std::size_t first, std::size_t count, std::span<const std::byte> block, std::size_t block_tokens);

}   // namespace tensorcache::llama
