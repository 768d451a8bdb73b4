// Moves KV cache blocks between a llama.cpp context and the cache.
#pragma once

#include <llama.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "serving/model/kv_format.h"
#include "serving/llama/llama_model.h"
#include "serving/llama/stored_prefix.h"
#include "store/prefix/block_chain.h"
#include "tensorcache/cache.h"

namespace tensorcache::llama {

// Belongs to the thread that owns the context, but for find() and missing(). A sequence's state passes through memory that is charged to the cache's
// budget while it is needed. Throws nothing: without memory a prefix is not stored, or not restored.
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
  struct Saved {
    std::size_t blocks = 0;    // that were stored now
    std::vector<Key> stored;   // the leading run of the sequence's blocks that is in memory now
  };
  Saved save_rest(llama_seq_id sequence, const prefix::BlockChain& chain, std::span<const llama_token> tokens, std::uint64_t owner);

  // Says what is known of the future of the run that save_rest() left stored.
  void advise(std::span<const Key> stored, const Hints& hints) const { cache_.advise(stored, hints); }
  // Says that no other turn will follow: what is this sequence's alone goes next.
  void demote(std::span<const Key> stored) const { cache_.demote(stored); }

  // Finds and pins the longest prefix of `tokens` in memory. Two look-ups: full blocks, then a partial one. Pins of waiting requests hold at
  // most half of the cache's budget: beyond that it finds nothing, and refresh() looks when the request's turn comes.
  // THREADS: any.
  [[nodiscard]] StoredPrefix find(const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  // Looks the full blocks up again if it has not found all of `tokens` and blocks were stored since it looked.
  void refresh(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  // RETURNS the keys of the longest prefix of `tokens` in all tiers, for Cache::load; none if `prefix` is as long.
  // REQUIRES: `prefix` is what find() returned. THREADS: any.
  [[nodiscard]] std::vector<Key> missing(const StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;

  // Replaces a sequence by the stored prefix of `tokens`. RETURNS how many tokens that is; 0 leaves the sequence empty.
  std::size_t restore(llama_seq_id sequence, StoredPrefix prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens);

  // Leaves memory for the first blocks and for one state in the cache's pool of buffers, so that no request waits for the system's fresh
  // pages: on a virtual machine these may take longer than reading the blocks from disk. Seconds; any thread.
  void warm_up(const std::stop_token& stop);

 private:
  [[nodiscard]] std::span<const Key> full_blocks(const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  [[nodiscard]] std::vector<Key> partial_keys(const prefix::BlockChain& chain, std::span<const llama_token> tokens, std::size_t blocks) const;
  void find_blocks(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  void find_end(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  [[nodiscard]] bool take_share(StoredPrefix& prefix) const;
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
  std::atomic<std::uint64_t> changes_{1};   // one more after blocks were stored
  const std::shared_ptr<std::atomic<std::uint64_t>> shared_out_bytes_ = std::make_shared<std::atomic<std::uint64_t>>(0);
};

}   // namespace tensorcache::llama
