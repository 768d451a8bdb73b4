// The context is full: who waits, who leaves its slot, and whose memory is given back.
#include <algorithm>

#include "serving/llama/scheduler.h"

namespace tensorcache::llama {
namespace {

// Left free for each running request when another one starts, so that it does not have to leave at once.
constexpr std::size_t kGrowthTokens = 64;

}   // namespace

// Cells that a slot has, or will have when its prefill is complete.
std::size_t Scheduler::cells(const Sequence* sequence) {
  if (sequence == nullptr) return 0;
  return sequence->running() ? std::max(sequence->computed, sequence->prefill_tokens) : sequence->computed;
}

// Not of those that are leaving: their cells are free in a moment.
std::size_t Scheduler::running_cells() const {
  std::size_t sum = 0;
  for (const auto& slot : slots_) sum += slot && slot->running() ? cells(slot.get()) : 0;
  return sum;
}

bool Scheduler::fits(const Sequence& sequence) const {
  if (options_.request_tokens * slots_.size() <= room_.total_tokens()) return true;   // each has its own part
  std::size_t sum = sequence.prefill_tokens, running = 0;
  for (const auto& slot : slots_) {
    sum += cells(slot.get());
    running += slot != nullptr ? 1 : 0;
  }
  return running == 0 || sum + (running + 1) * kGrowthTokens <= room_.total_tokens();
}

// Before a decode step. The first that started never leaves: it needs no more than the context holds.
void Scheduler::make_room() {
  for (;;) {
    std::size_t rows = 0, running = 0;
    Sequence* last = nullptr;
    for (const auto& slot : slots_) {
      if (!slot || !slot->running()) continue;
      ++running;
      rows += slot->decoding() ? 1 : 0;
      if (last == nullptr || slot->started_as > last->started_as) last = slot.get();
    }
    if (rows == 0 || running < 2 || running_cells() + rows <= room_.total_tokens()) break;
    preempt(*last);
  }
  for (const auto& slot : slots_) {
    if (slot && slot->decoding()) touch(*slot, slot->computed + 1);
  }
}

void Scheduler::touch(const Sequence& sequence, std::size_t tokens) {
  if (!store_.pages()) return;
  std::vector<std::size_t> in_use;
  for (const auto& slot : slots_) in_use.push_back(cells(slot.get()));
  room_.touch(static_cast<std::size_t>(sequence.slot), tokens, in_use);
}

// A slot's cells are the first ones of its part, unless llama.cpp decides otherwise: so it is asked.
bool Scheduler::give_back(std::size_t slot, std::size_t first_cell) {
  const auto sequence = static_cast<llama_seq_id>(slot);
  if (first_cell > 0) {
    const auto end = store_.end_cell(sequence);
    if (!end || *end > first_cell) return false;
  }
  store_.pages()->give_back(sequence, first_cell);
  return true;
}

void Scheduler::preempt(Sequence& s) {
  ++stats_.preemptions;
  begin_save_rest(s);   // before: a sequence that is being restored is stored already
  s.restoring.reset();
  s.preempted = true;
  if (!s.saving || s.saving->pieces.empty()) wait_again(s);
}

void Scheduler::wait_again(Sequence& s) {
  auto& slot = slots_[static_cast<std::size_t>(s.slot)];
  if (s.chain) s.chain->extend(s.tokens);
  waiting_.push_front(slot);   // what throws here is ended with the others
  llama_memory_seq_rm(llama_get_memory(model_.context()), s.slot, -1, -1);
  s.slot = -1;
  s.preempted = false;
  s.saving.reset();
  s.computed = s.saved_blocks = 0;
  s.prefill_tokens = s.tokens.size();
  s.asked_holder = false;
  s.passed_by = 0;
  slot.reset();
}

}   // namespace tensorcache::llama
