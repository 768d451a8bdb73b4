// When K/V is restored and saved: at the start of a request, while it runs, and after its end.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <new>

#include "serving/llama/scheduler.h"

namespace tensorcache::llama {

// RETURNS how many tokens are going to be restored.
std::size_t Scheduler::begin_restore(Sequence& s) {
  llama_memory_seq_rm(llama_get_memory(model_.context()), s.slot, -1, -1);
  const auto tokens = s.reusable_tokens();
  if (tokens.empty()) return 0;
  store_.refresh(s.prefix, *s.chain, tokens);
  const std::size_t stored = store_.complete(s.prefix, *s.chain, tokens);
  const std::size_t taken = stored == 0 ? 0 : cost_.worth_taking_over(stored, s.prefill_tokens);
  if (taken > 0) s.restoring = store_.begin_restore(s.slot, std::move(s.prefix), taken);
  s.prefix = {};
  return s.restoring ? taken : 0;
}

// Restores before saves, of each the one in the lowest slot: one after the other, they end sooner than by turns.
Sequence* Scheduler::next_to_transfer() {
  const auto first = [&](const auto& wanted) {
    const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const auto& slot) { return slot && wanted(*slot); });
    return found == slots_.end() ? nullptr : found->get();
  };
  Sequence* const restoring = first([](const Sequence& s) { return s.restoring.has_value(); });
  return restoring != nullptr ? restoring : first([](const Sequence& s) { return s.saving.has_value(); });
}

void Scheduler::transfer_step() {
  const auto until = TransferClock::now() + options_.transfer_slice;
  while (Sequence* const next = next_to_transfer()) {
    transfer(*next, until);
    if (TransferClock::now() >= until) return;
  }
}

// Ends an ended sequence, whose slot is free afterwards, when everything is stored.
void Scheduler::transfer(Sequence& s, TransferClock::time_point until) {
  if (s.restoring && store_.advance(*s.restoring, until)) s.restoring.reset();
  if (!s.saving || !store_.advance(*s.saving, until)) return;
  if (s.ended) {
    leave(s);
  } else if (s.preempted) {
    wait_again(s);
  } else {
    s.saving.reset();
  }
}

// K/V of generated tokens was computed in another shape than a prompt's: a deterministic engine does not keep it.
std::size_t Scheduler::storable_tokens(const Sequence& s) const {
  return options_.deterministic ? std::min(s.computed, s.prompt_tokens) : s.computed;
}

bool Scheduler::can_save(const Sequence& s) const { return s.slot >= 0 && !s.restoring && s.chain && s.request->store_prefix; }

void Scheduler::save_as_it_goes(Sequence& s) {
  const std::size_t blocks = storable_tokens(s) / options_.block_tokens;
  if (!can_save(s) || s.saving) return;
  if ((blocks - std::min(blocks, s.saved_blocks)) * options_.block_tokens < save_every_tokens_) return;
  s.chain->extend(std::span(s.tokens).first(s.computed));
  s.saving = store_.begin_save(s.slot, s.chain->keys(), s.saved_blocks, blocks, s.owner);
  s.saved_blocks = blocks;
  if (save_at_once_) transfer(s, TransferClock::time_point::max());
}

// The client has its last event. The request keeps its slot until its K/V is stored.
void Scheduler::release(Sequence& s) {
  s.ended = true;
  begin_save_rest(s);
  if (!s.saving || s.saving->pieces.empty()) leave(s);
}

void Scheduler::begin_save_rest(Sequence& s) {
  if (!can_save(s)) return;
  s.saving.reset();
  try {
    const std::size_t tokens = storable_tokens(s);
    s.chain->extend(std::span(s.tokens).first(std::max(tokens, std::min(s.computed, s.prompt_tokens))));
    s.saving = store_.begin_save_rest(s.slot, *s.chain, std::span(s.tokens).first(tokens), s.owner);
  } catch (const std::bad_alloc&) {   // its end is not stored
    spdlog::error("no memory to store a prefix");
  }
}

void Scheduler::leave(Sequence& s) {
  if (s.saving && s.request->hints != Hints()) store_.advise(s.saving->stored, s.request->hints);
  if (s.saving && s.request->ends_conversation) store_.demote(s.saving->stored);
  if (s.slot >= 0) llama_memory_seq_rm(llama_get_memory(model_.context()), s.slot, -1, -1);
  on_end_(s);
  if (s.slot >= 0) slots_[static_cast<std::size_t>(s.slot)].reset();   // may be the last reference to `s`
}

}   // namespace tensorcache::llama
