#include "serving/llama/prefix_store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <new>

#include "serving/llama/batch.h"
#include "serving/llama/kv_transfer.h"
#include "serving/llama/timer.h"

namespace tensorcache::llama {
namespace {

// Of the cache's budget, what is made ready at start: as much as its pool of buffers keeps.
constexpr std::uint64_t kWarmShare = 16;
// Of the cache's budget, what the prefixes of waiting requests may pin.
constexpr std::uint64_t kPinnedShare = 2;

}   // namespace

PrefixStore::PrefixStore(const LlamaModel& model, Cache& cache, int block_tokens, bool partial_blocks)
    : model_(model), cache_(cache), block_tokens_(static_cast<std::size_t>(block_tokens)), partial_blocks_(partial_blocks) {
  if (llama_model_is_recurrent(model.model()) || llama_model_is_hybrid(model.model())) {
    note_ = "a recurrent or hybrid model's state cannot be cut at a token";
    return;
  }
  window_tokens_ = std::max(0, llama_model_n_swa(model.model()));
  note_ = prove_layout();
  llama_memory_clear(llama_get_memory(model.context()), true);
}

void PrefixStore::warm_up(const std::stop_token& stop) {
  if (!usable()) return;
  const std::uint64_t share = cache_.stats().capacity_bytes / kWarmShare;
  std::vector<Reservation> drafts;   // all held until the end, or each would be the one before it
  try {
    for (std::uint64_t bytes = 0; bytes < share && !stop.stop_requested(); bytes += block_bytes()) {
      drafts.push_back(cache_.reserve(KeyBuilder("engine/warm").field("n", static_cast<std::uint64_t>(drafts.size())).build(), block_bytes()));
    }
  } catch (const std::bad_alloc&) {   // then there is nothing to have ready
  }
}

std::string PrefixStore::prove_layout() {
  llama_context* context = model_.context();
  const std::size_t tokens = 2 * block_tokens_;
  if (tokens + 1 > llama_n_ctx_seq(context)) return "the context of one request is shorter than three blocks";
  if (window_tokens_ > 0 && static_cast<std::size_t>(window_tokens_) < tokens) return "the model's sliding window is shorter than two blocks";
  const llama_seq_id from = 0, to = static_cast<llama_seq_id>(llama_n_seq_max(context)) - 1;
  Batch batch(static_cast<int>(tokens));
  const int vocab = model_.vocab_tokens();
  for (std::size_t i = 0; i < tokens; ++i) {
    batch.add(static_cast<llama_token>((i * 7 + 1) % static_cast<std::size_t>(vocab)), static_cast<llama_pos>(i), from, i + 1 == tokens);
    if (batch.size() == static_cast<int>(std::min<std::size_t>(block_tokens_, llama_n_batch(context)))) {
      if (llama_decode(context, batch.get()) != 0) return "the model does not decode a test sequence";
      batch.clear();
    }
  }
  const auto cut = [&](const std::optional<model::KvPlaces>& places) {
    std::vector<std::vector<std::byte>> blocks;
    for (std::size_t i = 0; places && places->layout() == layout_ && i < 2; ++i) {
      if (blocks.emplace_back(block_bytes()); !copy_out(*places, i * block_tokens_, block_tokens_, blocks.back()))
        return std::vector<std::vector<std::byte>>();
    }
    return blocks;
  };
  const auto computed = locate(context, from);
  if (!computed) return "the layout of llama.cpp's sequence state is not known";
  layout_ = computed->layout();
  pages_ = SequencePages::of(*computed, llama_n_seq_max(context));
  const std::vector<std::vector<std::byte>> blocks = cut(computed);
  if (blocks.empty()) return "a test sequence's state cannot be cut";
  llama_memory_clear(llama_get_memory(context), true);
  const std::vector<std::span<const std::byte>> parts(blocks.begin(), blocks.end());
  const auto made = make_cells(context, to, layout_, tokens, parts, block_tokens_, block_tokens_);
  if (!made || !made->holds(0, tokens)) return "llama.cpp does not take back a joined state";
  for (std::size_t i = 0; i < 2; ++i) copy_in(*made, i * block_tokens_, block_tokens_, blocks[i], block_tokens_);
  if (cut(locate(context, to)) != blocks) return "a joined state reads back differently";
  return {};
}

std::optional<std::size_t> PrefixStore::end_cell(llama_seq_id sequence) const {
  try {
    const auto places = locate(model_.context(), sequence);
    if (places) return places->end_cell();
  } catch (const std::bad_alloc&) {   // then it stays unknown
  }
  return std::nullopt;
}

PrefixPiece PrefixStore::block(std::span<const Key> chain, std::size_t i) const {
  return {chain[i], i > 0 ? std::optional(chain[i - 1]) : std::nullopt, i * block_tokens_, block_tokens_};
}

// Without places if there is nothing to store or no memory to find out where it lies: then without pieces, too.
PrefixSave PrefixStore::located(llama_seq_id sequence, std::vector<PrefixPiece> pieces, std::uint64_t owner) {
  PrefixSave save;
  save.owner = owner;
  if (pieces.empty()) return save;
  const Timer timer(&counters_.save_seconds);
  auto places = locate(model_.context(), sequence);
  if (!places || places->layout() != layout_) {
    spdlog::error("the layout of a sequence's state changed; its prefix is not stored");
    return save;
  }
  save.places = std::move(*places);
  save.pieces = std::move(pieces);
  return save;
}

std::optional<PrefixSave> PrefixStore::begin_save(llama_seq_id sequence, std::span<const Key> chain, std::size_t first, std::size_t last,
                                                  std::uint64_t owner) {
  last = std::min(last, chain.size());
  if (!usable() || first >= last) return std::nullopt;
  try {
    const std::size_t stored = cache_.peek(chain.subspan(first, last - first), Tiers::kMemoryOnly);
    std::vector<PrefixPiece> pieces;
    for (std::size_t i = first + stored; i < last; ++i) pieces.push_back(block(chain, i));
    PrefixSave save = located(sequence, std::move(pieces), owner);
    if (save.pieces.empty()) return std::nullopt;
    return save;
  } catch (const std::bad_alloc&) {
    spdlog::error("no memory to store a prefix");
    return std::nullopt;
  }
}

PrefixSave PrefixStore::begin_save_rest(llama_seq_id sequence, const prefix::BlockChain& chain, std::span<const llama_token> tokens,
                                        std::uint64_t owner) {
  if (!usable()) return {};
  try {
    const std::size_t full = tokens.size() / block_tokens_;
    const auto keys = chain.keys().first(full);
    const std::size_t in_memory = cache_.peek(keys, Tiers::kMemoryOnly);
    std::vector<Key> stored(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(in_memory));
    std::vector<PrefixPiece> pieces;
    for (std::size_t i = in_memory; i < full; ++i) pieces.push_back(block(keys, i));
    const auto rest = tokens.subspan(full * block_tokens_);
    if (partial_blocks_ && !rest.empty()) {
      const PrefixPiece end{chain.partial_key(full, rest), full > 0 ? std::optional(keys.back()) : std::nullopt, full * block_tokens_, rest.size()};
      const bool known = pieces.empty() && cache_.contains(end.key, Tiers::kMemoryOnly);
      if (known) stored.push_back(end.key);
      if (!known) pieces.push_back(end);
    }
    PrefixSave save = located(sequence, std::move(pieces), owner);
    save.stored = std::move(stored);
    return save;
  } catch (const std::bad_alloc&) {
    spdlog::error("no memory to store a prefix");
    return {};
  }
}

bool PrefixStore::advance(PrefixSave& save, TransferClock::time_point until) {
  const Timer timer(&counters_.save_seconds);
  const std::size_t before = save.next;
  bool complete = save.next == save.pieces.size();
  try {
    while (!complete) {
      const PrefixPiece& piece = save.pieces[save.next];
      if (!save_piece(save, piece)) {   // its descendants cannot be stored either
        counters_.blocks_not_saved += save.pieces.size() - save.next;
        complete = true;
        break;
      }
      save.stored.push_back(piece.key);
      complete = ++save.next == save.pieces.size();
      if (TransferClock::now() >= until) break;
    }
  } catch (const std::bad_alloc&) {
    spdlog::error("no memory to store a prefix");
    counters_.blocks_not_saved += save.pieces.size() - save.next;
    complete = true;
  }
  if (save.next > before) ++changes_;
  return complete;
}

bool PrefixStore::save_piece(const PrefixSave& save, const PrefixPiece& piece) {
  Reservation draft = cache_.reserve(piece.key, layout_.block_bytes(piece.tokens),
                                     {.kind = Kind::kPrefixBlock, .owner = save.owner, .source = model_.source(), .parent = piece.parent});
  if (!draft && draft.status() == PutStatus::kAlreadyStored) return true;
  if (!draft || !copy_out(save.places, piece.first_token, piece.tokens, draft.bytes())) return false;
  counters_.bytes_saved += draft.bytes().size();
  const PutStatus status = cache_.commit(std::move(draft));
  if (status == PutStatus::kStored) ++counters_.blocks_saved;
  return status == PutStatus::kStored || status == PutStatus::kAlreadyStored;
}

std::span<const Key> PrefixStore::full_blocks(const prefix::BlockChain& chain, std::span<const llama_token> tokens) const {
  return chain.keys().first(std::min(chain.keys().size(), tokens.size() / block_tokens_));
}

// Of the partial blocks that may follow the first `blocks` full ones, the longest first.
std::vector<Key> PrefixStore::partial_keys(const prefix::BlockChain& chain, std::span<const llama_token> tokens, std::size_t blocks) const {
  std::vector<Key> keys;
  const auto rest = tokens.subspan(blocks * block_tokens_);
  const std::size_t longest = partial_blocks_ ? std::min(rest.size(), block_tokens_ - 1) : 0;
  keys.reserve(longest);
  for (std::size_t n = longest; n > 0; --n) keys.push_back(chain.partial_key(blocks, rest.first(n)));
  return keys;
}

void PrefixStore::find_blocks(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const {
  prefix.as_of = changes_.load();   // before the look-up: what is stored meanwhile is looked up again
  prefix.pinned = cache_.pin(full_blocks(chain, tokens));
  prefix.blocks = prefix.pinned.size();
  prefix.tokens = prefix.blocks * block_tokens_;
  prefix.end_known = false;
}

void PrefixStore::find_end(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const {
  prefix.end_known = true;
  const std::vector<Key> keys = partial_keys(chain, tokens, prefix.blocks);
  if (keys.empty()) return;
  if (const auto at = cache_.pin_next(prefix.pinned, keys)) prefix.tokens += keys.size() - *at;
}

// False: waiting requests pin enough already.
bool PrefixStore::take_share(StoredPrefix& prefix) const {
  if (prefix.pinned.empty()) return true;
  const std::uint64_t bytes = prefix.pinned.size() * block_bytes();
  prefix.share = std::shared_ptr<void>(nullptr, [total = shared_out_bytes_, bytes](void*) { *total -= bytes; });
  return (*shared_out_bytes_ += bytes) <= cache_.stats().capacity_bytes / kPinnedShare;
}

StoredPrefix PrefixStore::find(const prefix::BlockChain& chain, std::span<const llama_token> tokens) const {
  if (!usable()) return {};
  try {
    StoredPrefix prefix;
    find_blocks(prefix, chain, tokens);
    find_end(prefix, chain, tokens);
    if (take_share(prefix)) return prefix;
  } catch (const std::bad_alloc&) {   // then it is looked up when its turn comes
  }
  return {};
}

void PrefixStore::refresh(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const {
  if (!usable() || prefix.as_of == changes_.load() || (prefix.as_of != 0 && prefix.tokens == tokens.size())) return;
  find_blocks(prefix, chain, tokens);
}

std::vector<Key> PrefixStore::missing(const StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const {
  const auto keys = full_blocks(chain, tokens);
  std::size_t blocks = prefix.blocks;
  if (blocks < keys.size()) blocks += cache_.peek(keys.subspan(blocks));
  const auto leading = [&](std::size_t count) { return std::vector<Key>(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count)); };
  const auto rest = tokens.subspan(blocks * block_tokens_);
  for (std::size_t n = partial_blocks_ ? std::min(rest.size(), block_tokens_ - 1) : 0; n > 0; --n) {
    if (blocks * block_tokens_ + n <= prefix.tokens) return {};   // it is pinned already
    const Key key = chain.partial_key(blocks, rest.first(n));
    if (!cache_.contains(key)) continue;
    std::vector<Key> run = leading(blocks);
    run.push_back(key);
    return run;
  }
  // Right after a start nobody knows yet what is there.
  return prefix.blocks == keys.size() ? std::vector<Key>() : leading(keys.size());
}

std::size_t PrefixStore::complete(StoredPrefix& prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) const {
  if (!usable()) return 0;
  try {
    if (!prefix.end_known) find_end(prefix, chain, tokens);
  } catch (const std::bad_alloc&) {   // then without it
  }
  cache_.use(prefix.pinned, full_blocks(chain, tokens).size());   // also where nothing is found: the policy learns of it
  return prefix.tokens;
}

// How many tokens a block of the prefix has.
std::size_t PrefixStore::block_tokens_of(const StoredPrefix& prefix, std::size_t block) const {
  return block < prefix.blocks ? block_tokens_ : prefix.tokens - prefix.blocks * block_tokens_;
}

std::optional<PrefixRestore> PrefixStore::begin_restore(llama_seq_id sequence, StoredPrefix prefix, std::size_t tokens) {
  const Timer timer(&counters_.restore_seconds);
  try {
    const std::size_t count = (tokens + block_tokens_ - 1) / block_tokens_;
    std::vector<std::span<const std::byte>> blocks = prefix.pinned.blocks();
    bool fits = count > 0 && count <= blocks.size();
    for (std::size_t i = 0; fits && i < count; ++i) fits = blocks[i].size() == layout_.block_bytes(block_tokens_of(prefix, i));
    if (fits) {
      const std::size_t last_tokens = block_tokens_of(prefix, count - 1);
      auto places = make_cells(model_.context(), sequence, layout_, tokens, std::span(blocks).first(count), block_tokens_, last_tokens);
      if (places && places->holds(0, tokens)) return PrefixRestore{std::move(prefix), std::move(blocks), tokens, 0, std::move(*places)};
    }
    spdlog::error("llama.cpp did not take back a stored prefix; it is computed anew");
  } catch (const std::bad_alloc&) {
    spdlog::error("no memory to restore a prefix; it is computed anew");
  }
  llama_memory_seq_rm(llama_get_memory(model_.context()), sequence, -1, -1);
  return std::nullopt;
}

bool PrefixStore::advance(PrefixRestore& restore, TransferClock::time_point until) {
  const Timer timer(&counters_.restore_seconds);
  while (restore.done < restore.tokens) {
    const std::size_t block = restore.done / block_tokens_;
    const std::size_t count = std::min(block_tokens_, restore.tokens - restore.done);
    copy_in(restore.places, restore.done, count, restore.blocks[block], block_tokens_of(restore.prefix, block));
    counters_.bytes_restored += layout_.block_bytes(count);
    restore.done += count;
    if (TransferClock::now() >= until) break;
  }
  return restore.done == restore.tokens;
}

}   // namespace tensorcache::llama
