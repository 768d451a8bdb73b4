// Moves blocks of attention K/V between a llama.cpp context and the cache.
#pragma once

#include <llama.h>

#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "serving/model/kv_format.h"
#include "serving/llama/llama_model.h"
#include "store/prefix/block_chain.h"
#include "tensorcache/cache.h"

namespace tensorcache::llama {

// Belongs to the thread that owns the context. A sequence's state passes through memory that is charged to the cache's budget while it
// is needed. Throws nothing: without memory a prefix is not stored, or not restored.
class PrefixStore {
 public:
  // Learns the layout of the model's state and proves it: a computed sequence is cut, joined into another sequence, read back and
  // compared. Needs an empty context; leaves it empty. If the model cannot be cut, usable() is false and note() says why.
  // `partial_blocks`: also what follows the last full block is kept, so that a sequence is taken up at any token.
  PrefixStore(const LlamaModel& model, Cache& cache, int block_tokens, bool partial_blocks);

  [[nodiscard]] bool usable() const { return note_.empty(); }
  [[nodiscard]] const std::string& note() const { return note_; }
  // Blocks of a sliding-window model can only be cut while they are within this many tokens of the end; 0: at any time.
  [[nodiscard]] int window_tokens() const { return window_tokens_; }
  [[nodiscard]] std::size_t block_bytes() const { return format_.block_bytes(block_tokens_); }

  // Stores the blocks [first, last) of a sequence whose cells for them are in the context, where not stored already. Returns how many
  // leading ones of them are now stored: fewer where the budget is full of what is in use.
  std::size_t save(llama_seq_id sequence, std::span<const Key> chain, std::size_t first, std::size_t last, std::uint64_t owner);

  // Stores all of a sequence that ends here: what of `tokens` is not stored yet. Drops cells from the context.
  std::size_t save_rest(llama_seq_id sequence, const prefix::BlockChain& chain, std::span<const llama_token> tokens, std::uint64_t owner);

  // Says what is known of the future of what is stored of a sequence.
  void advise(const prefix::BlockChain& chain, std::span<const llama_token> tokens, const Hints& hints) const {
    cache_.advise(longest(chain, tokens, Tiers::kMemoryOnly).keys, hints);
  }
  // Says that no other turn will follow: what is this sequence's alone goes next.
  void demote(const prefix::BlockChain& chain, std::span<const llama_token> tokens) const {
    cache_.demote(longest(chain, tokens, Tiers::kMemoryOnly).keys);
  }

  // Replaces a sequence by the longest stored prefix of `tokens`. Returns how many tokens that is; 0 leaves the sequence empty.
  std::size_t restore(llama_seq_id sequence, const prefix::BlockChain& chain, std::span<const llama_token> tokens);

  // The keys of the longest stored prefix of `tokens`: full blocks, then perhaps a partial one. Any thread.
  struct Prefix {
    std::vector<Key> keys;
    std::size_t tokens = 0;
    bool partial = false;   // the last key's
  };
  [[nodiscard]] Prefix longest(const prefix::BlockChain& chain, std::span<const llama_token> tokens, Tiers tiers) const;

  // Leaves memory for the first blocks and for one state in the cache's pool of buffers, so that no request waits for the system's fresh
  // pages: on a virtual machine these may take longer than reading the blocks from disk. Seconds; any thread.
  void warm_up(const std::stop_token& stop);

  [[nodiscard]] std::size_t stored(std::span<const Key> chain) const { return cache_.peek(chain, Tiers::kMemoryOnly); }

 private:
  [[nodiscard]] std::string prove_layout();
  [[nodiscard]] Reservation staging(std::size_t bytes);
  // The first `bytes` of the draft are the state; an empty draft if there is none, or no memory for it.
  [[nodiscard]] Reservation read_state(llama_seq_id sequence, std::size_t* bytes);
  struct Piece {   // of a sequence, to be stored
    Key key;
    std::optional<Key> parent;
    std::size_t first_token, tokens;
  };
  [[nodiscard]] Piece block(std::span<const Key> chain, std::size_t i) const;
  std::size_t save_pieces(llama_seq_id sequence, std::span<const Piece> pieces, std::uint64_t owner);
  std::size_t try_save_pieces(llama_seq_id sequence, std::span<const Piece> pieces, std::uint64_t owner);
  std::size_t restore_run(llama_seq_id sequence, std::span<const std::span<const std::byte>> blocks, std::size_t tokens);

  const LlamaModel& model_;
  Cache& cache_;
  std::size_t block_tokens_;
  bool partial_blocks_;
  int window_tokens_ = 0;
  model::KvFormat format_;
  std::string note_;
};

}   // namespace tensorcache::llama
