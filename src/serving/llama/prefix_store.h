// Moves KV cache blocks between a llama.cpp context and the cache.
#pragma once

#include <llama.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "serving/llama/context_memory.h"
#include "serving/llama/llama_model.h"
#include "serving/llama/prefix_transfer.h"
#include "serving/model/kv_layout.h"
#include "store/prefix/block_chain.h"
#include "tensorcache/cache.h"

namespace tensorcache::llama {

// Copies between the context and the pinned blocks, without a buffer between them. Throws nothing: without memory a prefix is not stored,
// or not restored.
// THREADS: the context's, but for find() and missing().
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
  [[nodiscard]] std::size_t block_bytes() const { return layout_.block_bytes(block_tokens_); }
  // The memory of each sequence's cells; none if it cannot be given back.
  [[nodiscard]] const std::optional<SequencePages>& pages() const { return pages_; }
  // RETURNS the end of a sequence's cells within its part of the KV cache; none if that is not known.
  [[nodiscard]] std::optional<std::size_t> end_cell(llama_seq_id sequence) const;

  // Begins to store the blocks [first, last) of a sequence whose cells for them are in the context. RETURNS none if all are stored.
  [[nodiscard]] std::optional<PrefixSave> begin_save(llama_seq_id sequence, std::span<const Key> chain, std::size_t first, std::size_t last,
                                                     std::uint64_t owner);
  // Begins to store all of a sequence that is not stored yet, with what follows the last full block. Nothing to store: without pieces.
  [[nodiscard]] PrefixSave begin_save_rest(llama_seq_id sequence, const prefix::BlockChain& chain, std::span<const llama_token> tokens,
                                           std::uint64_t owner);
  // Copies until `until`, but at least one block. RETURNS whether it is complete: everything is stored that will be.
  [[nodiscard]] bool advance(PrefixSave& save, TransferClock::time_point until);

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

  // Looks up the partial block and reports the use of the prefix to the policy. RETURNS the number of tokens that can be restored.
  std::size_t complete(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  // Replaces a sequence by cells for the leading `tokens` tokens of the prefix, 0 < `tokens` <= prefix.tokens. RETURNS none, and leaves the
  // sequence empty, if that is not possible.
  [[nodiscard]] std::optional<PrefixRestore> begin_restore(llama_seq_id sequence, StoredPrefix prefix, std::size_t tokens);
  // Copies until `until`, but at least one block. RETURNS whether it is complete.
  [[nodiscard]] bool advance(PrefixRestore& restore, TransferClock::time_point until);

  struct Counters {
    std::uint64_t blocks_saved = 0, blocks_not_saved = 0;   // not saved: no room in memory
    std::uint64_t bytes_saved = 0, bytes_restored = 0;      // copied out of the context, and into it
    double save_seconds = 0, restore_seconds = 0;
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }

  // Leaves memory for the first blocks in the cache's pool of buffers, so that no request waits for the system's fresh pages: on a virtual
  // machine these may take longer than reading the blocks from disk. Seconds; any thread.
  void warm_up(const std::stop_token& stop);

 private:
  [[nodiscard]] std::span<const Key> full_blocks(const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  [[nodiscard]] std::vector<Key> partial_keys(const prefix::BlockChain& chain, std::span<const llama_token> tokens, std::size_t blocks) const;
  void find_blocks(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  void find_end(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const;
  [[nodiscard]] bool take_share(StoredPrefix& prefix) const;
  [[nodiscard]] std::string prove_layout();
  [[nodiscard]] PrefixPiece block(std::span<const Key> chain, std::size_t i) const;
  [[nodiscard]] PrefixSave located(llama_seq_id sequence, std::vector<PrefixPiece> pieces, std::uint64_t owner);
  [[nodiscard]] bool save_piece(const PrefixSave& save, const PrefixPiece& piece);
  [[nodiscard]] std::size_t block_tokens_of(const StoredPrefix& prefix, std::size_t block) const;

  const LlamaModel& model_;
  Cache& cache_;
  std::size_t block_tokens_;
  bool partial_blocks_;
  int window_tokens_ = 0;
  model::KvLayout layout_;
  std::optional<SequencePages> pages_;
  Counters counters_;
  std::string note_;
  std::atomic<std::uint64_t> changes_{1};   // one more after blocks were stored
  const std::shared_ptr<std::atomic<std::uint64_t>> shared_out_bytes_ = std::make_shared<std::atomic<std::uint64_t>>(0);
};

}   // namespace tensorcache::llama
