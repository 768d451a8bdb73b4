#include "serving/llama/prefix_store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <new>

#include "serving/llama/batch.h"

namespace tensorcache::llama {
namespace {

// Of the cache's budget, what is made ready at start: as much as its pool of buffers keeps.
constexpr std::uint64_t kWarmShare = 16;
constexpr std::size_t kPageBytes = 4096;
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

// By powers of two, so that the cache's pool of buffers has it ready the next time: fresh memory costs a page fault for each 4 KiB.
Reservation PrefixStore::staging(std::size_t bytes) {
  static const Key kNeverStored = KeyBuilder("engine/staging").build();
  return cache_.reserve(kNeverStored, std::bit_ceil(bytes));
}

void PrefixStore::warm_up(const std::stop_token& stop) {
  if (!usable()) return;
  const std::uint64_t share = cache_.stats().capacity_bytes / kWarmShare;
  std::vector<Reservation> drafts;   // all held until the end, or each would be the one before it
  try {
    const std::size_t longest = std::bit_ceil(format_.state_bytes(llama_n_ctx_seq(model_.context())));
    if (longest <= share / 2) {
      drafts.push_back(staging(longest));
      for (std::size_t at = 0; drafts.back() && at < longest && !stop.stop_requested(); at += kPageBytes) drafts.back().bytes()[at] = std::byte{0};
    }
    for (std::uint64_t bytes = 0; bytes < share / 2 && !stop.stop_requested(); bytes += block_bytes()) {
      drafts.push_back(cache_.reserve(KeyBuilder("engine/warm").field("n", static_cast<std::uint64_t>(drafts.size())).build(), block_bytes()));
    }
  } catch (const std::bad_alloc&) {   // then there is nothing to have ready
  }
}

Reservation PrefixStore::read_state(llama_seq_id sequence, std::size_t* bytes) {
  *bytes = llama_state_seq_get_size(model_.context(), sequence);
  if (*bytes == 0) return {};
  Reservation state = staging(*bytes);
  if (!state || llama_state_seq_get_data(model_.context(), reinterpret_cast<std::uint8_t*>(state.bytes().data()), *bytes, sequence) != *bytes)
    return {};
  return state;
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
  const auto state_of = [&](llama_seq_id sequence) {
    std::vector<std::byte> state(llama_state_seq_get_size(context, sequence));
    state.resize(llama_state_seq_get_data(context, reinterpret_cast<std::uint8_t*>(state.data()), state.size(), sequence));
    return state;
  };
  const std::vector<std::byte> state = state_of(from);
  if (state.empty()) return "llama.cpp gives no state for a sequence";
  const auto format = model::KvFormat::learn(state);
  if (!format) return "the layout of llama.cpp's sequence state is not known";
  format_ = *format;
  const auto views = format_.view(state);
  std::vector<std::vector<std::byte>> blocks(2, std::vector<std::byte>(block_bytes()));
  for (std::size_t i = 0; i < 2; ++i) {
    if (!views || !format_.cut(state, *views, static_cast<std::int32_t>(i * block_tokens_), block_tokens_, blocks[i])) {
      return "a test sequence's state cannot be cut";
    }
  }
  llama_memory_clear(llama_get_memory(context), true);
  const std::vector<std::span<const std::byte>> parts(blocks.begin(), blocks.end());
  std::vector<std::byte> joined(format_.state_bytes(tokens));
  if (!format_.join(parts, block_tokens_, tokens, to, joined) ||
      llama_state_seq_set_data(context, reinterpret_cast<const std::uint8_t*>(joined.data()), joined.size(), to) != joined.size()) {
    return "llama.cpp does not take back a joined state";
  }
  const std::vector<std::byte> read_back = state_of(to);
  const auto again = format_.view(read_back);
  std::vector<std::byte> block(block_bytes());
  for (std::size_t i = 0; i < 2; ++i) {
    if (!again || !format_.cut(read_back, *again, static_cast<std::int32_t>(i * block_tokens_), block_tokens_, block) || block != blocks[i]) {
      return "a joined state reads back differently";
    }
  }
  return {};
}

PrefixStore::Piece PrefixStore::block(std::span<const Key> chain, std::size_t i) const {
  return {chain[i], i > 0 ? std::optional(chain[i - 1]) : std::nullopt, i * block_tokens_, block_tokens_};
}

std::size_t PrefixStore::save(llama_seq_id sequence, std::span<const Key> chain, std::size_t first, std::size_t last, std::uint64_t owner) {
  last = std::min(last, chain.size());
  if (!usable() || first >= last) return 0;
  const std::size_t stored = cache_.peek(chain.subspan(first, last - first), Tiers::kMemoryOnly);
  std::vector<Piece> pieces;
  for (std::size_t i = first + stored; i < last; ++i) pieces.push_back(block(chain, i));
  return stored + save_pieces(sequence, pieces, owner);
}

PrefixStore::Saved PrefixStore::save_rest(llama_seq_id sequence, const prefix::BlockChain& chain, std::span<const llama_token> tokens,
                                          std::uint64_t owner) {
  Saved saved;
  if (!usable()) return saved;
  const std::size_t full = tokens.size() / block_tokens_;
  const auto keys = chain.keys().first(full);
  const std::size_t stored = cache_.peek(keys, Tiers::kMemoryOnly);
  saved.stored.assign(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(stored));
  std::vector<Piece> pieces;
  for (std::size_t i = stored; i < full; ++i) pieces.push_back(block(keys, i));
  const auto rest = tokens.subspan(full * block_tokens_);
  if (partial_blocks_ && !rest.empty()) {
    const Piece end{chain.partial_key(full, rest), full > 0 ? std::optional(keys.back()) : std::nullopt, full * block_tokens_, rest.size()};
    const bool known = pieces.empty() && cache_.contains(end.key, Tiers::kMemoryOnly);
    if (known) saved.stored.push_back(end.key);
    if (!known) pieces.push_back(end);
  }
  // Reading a state costs by its cells: drop those that are stored already.
  if (!pieces.empty() && stored > 0) {
    llama_memory_seq_rm(llama_get_memory(model_.context()), sequence, 0, static_cast<llama_pos>(stored * block_tokens_));
  }
  saved.blocks = save_pieces(sequence, pieces, owner);
  for (const Piece& piece : std::span(pieces).first(saved.blocks)) saved.stored.push_back(piece.key);
  return saved;
}

std::size_t PrefixStore::save_pieces(llama_seq_id sequence, std::span<const Piece> pieces, std::uint64_t owner) {
  if (pieces.empty()) return 0;
  try {
    const std::size_t saved = try_save_pieces(sequence, pieces, owner);
    if (saved > 0) ++changes_;
    return saved;
  } catch (const std::bad_alloc&) {
    spdlog::error("no memory to store a prefix");
    return 0;
  }
}

// Returns how many leading ones are stored.
std::size_t PrefixStore::try_save_pieces(llama_seq_id sequence, std::span<const Piece> pieces, std::uint64_t owner) {
  std::size_t bytes = 0;
  const Reservation staged = read_state(sequence, &bytes);
  if (!staged) return 0;
  const std::span<const std::byte> state = staged.bytes().first(bytes);
  const auto views = format_.view(state);
  if (!views) {
    spdlog::error("the layout of a sequence's state changed; its prefix is not stored");
    return 0;
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    Reservation draft = cache_.reserve(piece.key, format_.block_bytes(piece.tokens),
                                       {.kind = Kind::kPrefixBlock, .owner = owner, .source = model_.source(), .parent = piece.parent});
    if (!draft && draft.status() == PutStatus::kAlreadyStored) continue;
    if (!draft || !format_.cut(state, *views, static_cast<std::int32_t>(piece.first_token), piece.tokens, draft.bytes())) return i;
    const PutStatus status = cache_.commit(std::move(draft));
    if (status != PutStatus::kStored && status != PutStatus::kAlreadyStored) return i;
  }
  return pieces.size();
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

std::size_t PrefixStore::restore(llama_seq_id sequence, StoredPrefix prefix, const prefix::BlockChain& chain, std::span<const llama_token> tokens) {
  llama_memory_t memory = llama_get_memory(model_.context());
  llama_memory_seq_rm(memory, sequence, -1, -1);
  try {
    if (!prefix.end_known) find_end(prefix, chain, tokens);
    cache_.use(prefix.pinned, full_blocks(chain, tokens).size());   // also where nothing is found: the policy learns of it
    if (prefix.pinned.empty()) return 0;
    const std::size_t restored = restore_run(sequence, prefix.pinned.blocks(), prefix.tokens);
    if (restored == 0) llama_memory_seq_rm(memory, sequence, -1, -1);
    return restored;
  } catch (const std::bad_alloc&) {
    spdlog::error("no memory to restore a prefix; it is computed anew");
    return 0;
  }
}

std::size_t PrefixStore::restore_run(llama_seq_id sequence, std::span<const std::span<const std::byte>> blocks, std::size_t tokens) {
  const std::size_t bytes = format_.state_bytes(tokens);
  const Reservation staged = staging(bytes);
  if (!staged) return 0;   // everything else in the cache is in use
  const std::span<std::byte> state = staged.bytes().first(bytes);
  if (format_.join(blocks, block_tokens_, tokens, sequence, state) &&
      llama_state_seq_set_data(model_.context(), reinterpret_cast<const std::uint8_t*>(state.data()), bytes, sequence) == bytes) {
    return tokens;
  }
  spdlog::error("llama.cpp did not take back a stored prefix; it is computed anew");
  return 0;
}

}   // namespace tensorcache::llama
