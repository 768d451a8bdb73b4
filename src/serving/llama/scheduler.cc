#include "serving/llama/scheduler.h"

#include <algorithm>

#include "serving/llama/timer.h"

namespace tensorcache::llama {
namespace {

// While others decode, a prefill step is kept short, so that their next token does not wait for long.
constexpr std::size_t kPrefillBesideDecodeTokens = 256;
// A long prompt is stored after each part of this size: a cancellation or a crash loses one part.
constexpr std::size_t kSaveEveryTokens = 2048;
// The shortest prompt goes first, but nobody is passed over more often than this.
constexpr int kMaxPassedOver = 8;
// A request waits for this many others, one after the other, to compute its prefix.
constexpr int kMaxAwaited = 4;

using std::chrono::duration_cast;
using std::chrono::microseconds;

engine::Failure decode_failure(const char* what, int result) {
  constexpr int kAborted = 2;   // by the engine's stop()
  if (result == kAborted) return {engine::Failure::Code::kShuttingDown, "the server is shutting down", ""};
  return {engine::Failure::Code::kInternal,
          std::string("the model could not compute ") + what + " (llama_decode gave " + std::to_string(result) + ")", ""};
}

engine::Failure answer_failure(const std::exception& error) {
  return {engine::Failure::Code::kInternal, std::string("the answer could not be continued: ") + error.what(), ""};
}

ModelSize size_of(const llama_model* model) {
  return {.layers = llama_model_n_layer(model), .embedding = llama_model_n_embd(model), .parameters = llama_model_n_params(model)};
}

}   // namespace

Scheduler::Scheduler(const LlamaModel& model, PrefixStore& store, const SchedulerOptions& options, OnEnd on_end)
    : model_(model),
      store_(store),
      options_(options),
      cost_(size_of(model.model()), options.attention_in_tiles && !options.deterministic),
      on_end_(std::move(on_end)),
      room_(options.context_tokens, static_cast<std::size_t>(options.parallel),
            [this](std::size_t slot, std::size_t first_cell) { return give_back(slot, first_cell); }),
      save_at_once_(store.window_tokens() > 0),
      save_every_tokens_(save_at_once_ ? static_cast<std::size_t>(store.window_tokens()) / 2 : kSaveEveryTokens),
      batch_(static_cast<int>(std::max<std::size_t>(options.batch_tokens, static_cast<std::size_t>(options.parallel)))),
      slots_(static_cast<std::size_t>(options.parallel)) {
  save_every_tokens_ = std::max(options.block_tokens, save_every_tokens_ / options.block_tokens * options.block_tokens);
}

int Scheduler::running_count() const {
  return static_cast<int>(std::count_if(slots_.begin(), slots_.end(), [](const auto& slot) { return slot != nullptr; }));
}

engine::EngineStats Scheduler::stats() const {
  engine::EngineStats stats = stats_;
  stats.queued = static_cast<std::int32_t>(waiting_.size());
  stats.running = running_count();
  const PrefixStore::Counters& copied = store_.counters();
  stats.blocks_saved = copied.blocks_saved;
  stats.blocks_not_saved = copied.blocks_not_saved;
  stats.kv_saved_bytes = copied.bytes_saved;
  stats.kv_restored_bytes = copied.bytes_restored;
  stats.kv_save_seconds = copied.save_seconds;
  stats.kv_restore_seconds = copied.restore_seconds;
  return stats;
}

void Scheduler::step() {
  drop_cancelled();
  admit();
  transfer_step();
  prefill_step();
  make_room();
  decode_step();
}

void Scheduler::drop_cancelled() {
  const engine::Failure cancelled{engine::Failure::Code::kCancelled, "cancelled", ""};
  const auto is_cancelled = [](const Sequence& sequence) { return sequence.cancelled.load(std::memory_order_relaxed); };
  while (const auto sequence = waiting_.take_if(is_cancelled)) fail(*sequence, cancelled);
  for (const auto& slot : slots_) {
    if (slot && !slot->ended && slot->cancelled.load(std::memory_order_relaxed)) fail(*slot, cancelled);
  }
}

void Scheduler::end_all(const engine::Failure& failure) {
  while (const auto sequence = waiting_.take_if([](const Sequence&) { return true; })) fail(*sequence, failure);
  for (const auto& slot : slots_) {
    if (slot && !slot->ended) fail(*slot, failure);
    if (slot) transfer(*slot, TransferClock::time_point::max());
  }
}

void Scheduler::admit() {
  for (;;) {
    const auto free_slot = std::find(slots_.begin(), slots_.end(), nullptr);
    if (free_slot == slots_.end() || waiting_.empty()) return;
    Sequence* too_large = nullptr;   // the first that does not fit now: it is passed by, but not for ever
    auto sequence = waiting_.take(slots_, [&](Sequence& next) {
      if (too_large != nullptr && too_large->passed_by >= kMaxPassedOver) return false;
      if (!fits(next)) {
        if (too_large == nullptr) too_large = &next;
        return false;
      }
      return !prefix_is_coming(next);
    });
    if (!sequence) return;
    if (too_large != nullptr) ++too_large->passed_by;
    start(std::move(sequence), static_cast<llama_seq_id>(free_slot - slots_.begin()));
  }
}

// Whether another request is computing or storing more of this one's prefix than there is to restore: then waiting beats computing it
// twice. A running one that holds more than is stored begins to store it.
bool Scheduler::prefix_is_coming(Sequence& sequence) {
  const auto wanted = sequence.reusable();
  if (wanted.empty()) return false;
  store_.refresh(sequence.prefix, *sequence.chain, sequence.reusable_tokens());
  const std::size_t stored = sequence.prefix.blocks;
  std::size_t held = stored, coming = 0, in_transfer = 0;
  Sequence* holder = nullptr;
  const Sequence* computing = nullptr;
  for (const auto& other : slots_) {
    if (!other || !other->chain || !other->request->store_prefix) continue;
    const std::size_t common = prefix::common_blocks(wanted, other->chain->keys());
    if (other->saving) in_transfer = std::max(in_transfer, std::min(common, other->saving->end_token() / options_.block_tokens));
    if (!other->running()) continue;
    if (other->computed < other->prefill_tokens && !other->cancelled.load(std::memory_order_relaxed)) {
      const std::size_t then = std::min(common, other->prefill_tokens / options_.block_tokens);
      if (then > coming) computing = other.get();
      coming = std::max(coming, then);
    }
    if (other->restoring) continue;
    const std::size_t now = std::min(common, std::min(other->computed, storable_tokens(*other)) / options_.block_tokens);
    if (now > held) {
      held = now;
      holder = other.get();
    }
  }
  if (coming > held && waits_for(sequence, *computing)) return true;
  if (in_transfer > stored) return true;
  return holder != nullptr && ask_holder(sequence, *holder, stored, held);
}

// False after several that were to compute the prefix and left nothing: there is no room for it, say.
bool Scheduler::waits_for(Sequence& waiting, const Sequence& computing) {
  if (waiting.awaited != computing.id) {
    if (waiting.awaits == kMaxAwaited) return false;
    if (waiting.awaits++ == 0) ++stats_.prefix_waits;
    waiting.awaited = computing.id;
  }
  return true;
}

// Once for each waiting request: what there is no room for would be asked for again and again. True: it is being stored.
bool Scheduler::ask_holder(Sequence& waiting, Sequence& holder, std::size_t stored, std::size_t held) {
  if (std::exchange(waiting.asked_holder, true)) return false;
  holder.saving = store_.begin_save(holder.slot, holder.chain->keys(), stored, held, holder.owner);
  if (holder.saving && save_at_once_) transfer(holder, TransferClock::time_point::max());
  return holder.saving.has_value();
}

void Scheduler::start(std::shared_ptr<Sequence> sequence, llama_seq_id slot) {
  Sequence& s = *sequence;
  slots_[static_cast<std::size_t>(slot)] = std::move(sequence);
  s.slot = slot;
  s.started_as = ++starts_;
  touch(s, s.prefill_tokens);
  s.computed = begin_restore(s);
  s.saved_blocks = s.computed / options_.block_tokens;
  stats_.blocks_restored += s.saved_blocks;
  if (!s.begun) begin(s);
}

void Scheduler::begin(Sequence& s) {
  s.begun = true;
  s.started = Sequence::Clock::now();
  s.cached = s.computed;
  ++stats_.requests;
  stats_.prompt_tokens += s.prompt_tokens;
  stats_.cached_tokens += s.cached;
  const engine::Fidelity fidelity = s.cached == 0            ? engine::Fidelity::kComputed
                                    : options_.deterministic ? engine::Fidelity::kExactKv
                                                             : engine::Fidelity::kKv;
  s.sink->on_begin({static_cast<std::int32_t>(s.prompt_tokens), static_cast<std::int32_t>(s.cached), fidelity});
}

// The fewest steps first; of those that need as many, one beside a decoding slot: llama.cpp computes only neighbouring sequences in one
// pass over the weights.
std::tuple<std::size_t, bool, std::size_t> Scheduler::prefill_order(const Sequence& sequence) const {
  const auto decoding = [&](std::size_t slot) { return slot < slots_.size() && slots_[slot] && slots_[slot]->decoding(); };
  const auto slot = static_cast<std::size_t>(sequence.slot);
  const std::size_t left = sequence.prefill_tokens - sequence.computed;
  return {left / options_.batch_tokens, !decoding(slot + 1) && !decoding(slot - 1), left};
}

Sequence* Scheduler::next_to_prefill() {
  Sequence* next = nullptr;
  for (const auto& slot : slots_) {
    if (!slot || !slot->prefilling()) continue;
    const bool overdue = slot->passed_over >= kMaxPassedOver;
    const bool next_overdue = next != nullptr && next->passed_over >= kMaxPassedOver;
    const bool shorter = next == nullptr || prefill_order(*slot) < prefill_order(*next);
    if (next == nullptr || (overdue && (!next_overdue || slot->passed_over > next->passed_over)) || (!next_overdue && shorter)) {
      next = slot.get();
    }
  }
  for (const auto& slot : slots_) {
    if (slot && slot->prefilling()) slot->passed_over = slot.get() == next ? 0 : slot->passed_over + 1;
  }
  return next;
}

// Steps end on a grid, so that a prompt is computed in the same shapes wherever it is taken up.
std::size_t Scheduler::prefill_end(const Sequence& sequence) const {
  std::size_t grid = options_.batch_tokens;
  if (options_.deterministic) {
    grid = options_.block_tokens;
  } else {
    const bool others_decode = std::any_of(slots_.begin(), slots_.end(), [](const auto& s) { return s && s->decoding(); });
    if (others_decode) grid = std::min(grid, kPrefillBesideDecodeTokens);
    grid = std::min(grid, save_every_tokens_);
    grid = std::max(options_.block_tokens, grid / options_.block_tokens * options_.block_tokens);
  }
  return std::min(sequence.prefill_tokens, (sequence.computed / grid + 1) * grid);
}

void Scheduler::prefill_step() {
  Sequence* const sequence = next_to_prefill();
  if (sequence == nullptr) return;
  const std::size_t end = prefill_end(*sequence);
  batch_.clear();
  for (std::size_t i = sequence->computed; i < end; ++i) {
    batch_.add(sequence->tokens[i], static_cast<llama_pos>(i), sequence->slot, i + 1 == sequence->prefill_tokens);
  }
  int result;
  {
    const Timer timer(&stats_.prefill_seconds);
    result = llama_decode(model_.context(), batch_.get());
  }
  if (result != 0) {
    fail(*sequence, decode_failure("the prompt", result));
    return;
  }
  stats_.prefilled_tokens += end - sequence->computed;
  sequence->computed = end;
  save_as_it_goes(*sequence);
  if (!sequence->prefilling()) {
    if (sequence->generated == 0) sequence->first_token = Sequence::Clock::now();
    accept(*sequence, -1);
  }
}

// In slot order. With `deterministic` every decode has the same number of rows: a place that has nothing to decode gets a row whose
// cell is removed again (remove_padding).
void Scheduler::add_decode_rows(std::vector<Sequence*>* rows) {
  const bool any = std::any_of(slots_.begin(), slots_.end(), [](const auto& s) { return s && s->decoding(); });
  batch_.clear();
  for (std::size_t slot = 0; any && slot < slots_.size(); ++slot) {
    Sequence* const s = slots_[slot].get();
    if (s != nullptr && s->decoding()) {
      batch_.add(s->tokens[s->computed], static_cast<llama_pos>(s->computed), s->slot, true);
      rows->push_back(s);
    } else if (options_.deterministic) {
      batch_.add(0, static_cast<llama_pos>(s == nullptr ? 0 : s->computed), static_cast<llama_seq_id>(slot), true);
      rows->push_back(nullptr);
    }
  }
}

void Scheduler::remove_padding() {
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    const Sequence* const s = slots_[slot].get();
    if (s != nullptr && s->decoding()) continue;
    const auto position = static_cast<llama_pos>(s == nullptr ? 0 : s->computed);
    llama_memory_seq_rm(llama_get_memory(model_.context()), static_cast<llama_seq_id>(slot), position, -1);
  }
}

void Scheduler::decode_step() {
  std::vector<Sequence*> rows;
  add_decode_rows(&rows);
  if (rows.empty()) return;
  int result;
  {
    const Timer timer(&stats_.decode_seconds);
    result = llama_decode(model_.context(), batch_.get());
  }
  if (options_.deterministic) remove_padding();
  for (std::size_t row = 0; row < rows.size(); ++row) {
    Sequence* const sequence = rows[row];
    if (sequence == nullptr) continue;
    if (result != 0) {
      fail(*sequence, decode_failure("a token", result));
      continue;
    }
    ++sequence->computed;
    save_as_it_goes(*sequence);
    accept(*sequence, static_cast<std::int32_t>(row));
  }
}

void Scheduler::accept(Sequence& s, std::int32_t row) {
  const std::span<const float> logits(llama_get_logits_ith(model_.context(), row), static_cast<std::size_t>(model_.vocab_tokens()));
  llama_token token;
  try {
    token = s.sampler->sample(logits, row);
  } catch (const std::exception& error) {   // a grammar that the model's tokens cannot follow, say
    fail(s, answer_failure(error));
    return;
  }
  ++s.generated;
  ++stats_.generated_tokens;
  if (llama_vocab_is_eog(model_.vocab(), token)) {
    finish(s, engine::FinishReason::kStop);
    return;
  }
  std::optional<engine::TokenLogprob> logprob;
  if (s.request->logprobs) logprob = s.sampler->logprob(logits, token, s.request->top_logprobs);
  const std::string piece = model_.piece(token, s.format->preserved_tokens.contains(token));
  engine::Delta delta = s.parser->push(s.text->push(piece, std::move(logprob)));
  if (!delta.empty()) s.sink->on_delta(std::move(delta));
  if (s.text->stopped()) {
    finish(s, engine::FinishReason::kStop);
    return;
  }
  s.tokens.push_back(token);
  const bool enough = s.request->max_tokens > 0 && s.generated >= s.request->max_tokens;
  if (enough || s.computed >= options_.request_tokens) finish(s, engine::FinishReason::kLength);
}

void Scheduler::finish(Sequence& s, engine::FinishReason reason) {
  engine::Delta rest;
  try {
    rest = s.parser->finish(s.text->stopped() ? engine::Delta{} : s.text->finish());
  } catch (const std::exception& error) {
    fail(s, answer_failure(error));
    return;
  }
  if (!rest.empty()) s.sink->on_delta(std::move(rest));
  if (reason == engine::FinishReason::kStop && s.parser->has_tool_calls()) reason = engine::FinishReason::kToolCalls;
  const auto now = Sequence::Clock::now();
  engine::Finish end;
  end.reason = reason;
  const std::vector<std::string>& stops = s.request->stop;   // the template's own come after them
  if (s.text->stopped() && s.text->stopped_by() < stops.size()) end.stop_sequence = stops[s.text->stopped_by()];
  end.usage = {static_cast<std::int32_t>(s.prompt_tokens), s.generated, static_cast<std::int32_t>(s.cached)};
  end.queued = duration_cast<microseconds>(s.started - s.submitted);
  end.prefill = duration_cast<microseconds>(s.first_token - s.started);
  end.decode = duration_cast<microseconds>(now - s.first_token);
  s.sink->on_finish(end);
  if (options_.on_finished && s.chain && s.request->store_prefix) {
    const auto keys = s.chain->keys();
    options_.on_finished({.prompt_blocks = keys.first(std::min(keys.size(), s.prompt_tokens / options_.block_tokens)),
                          .input_tokens = s.prompt_tokens,
                          .output_tokens = static_cast<std::size_t>(s.generated)});
  }
  ++stats_.finished;
  release(s);
}

void Scheduler::fail(Sequence& s, const engine::Failure& failure) {
  ++(failure.code == engine::Failure::Code::kCancelled ? stats_.cancelled : stats_.failed);
  s.sink->on_failure(failure);
  release(s);
}

}   // namespace tensorcache::llama
