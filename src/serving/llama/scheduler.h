// Continuous batching: assigns the steps of the context to requests. Runs on the context thread.
#pragma once

#include <functional>
#include <memory>
#include <tuple>
#include <vector>

#include "serving/engine/observer.h"
#include "serving/llama/batch.h"
#include "serving/llama/context_room.h"
#include "serving/llama/fair_queue.h"
#include "serving/llama/prefill_cost.h"
#include "serving/llama/prefix_store.h"
#include "serving/llama/sequence.h"

namespace tensorcache::llama {

struct SchedulerOptions {
  std::size_t block_tokens = 32;
  std::size_t batch_tokens = 512;   // the longest prefill step
  std::size_t context_tokens = 0;   // of all sequences together
  std::size_t request_tokens = 0;   // of one, at most
  int parallel = 1;
  bool deterministic = false;
  bool attention_in_tiles = false;               // see PrefillCost
  std::chrono::milliseconds transfer_slice{5};   // between two steps; 0: one block
  engine::FinishedObserver on_finished = {};
};

class Scheduler {
 public:
  using OnEnd = std::function<void(const Sequence&)>;   // after a sequence's last event

  Scheduler(const LlamaModel& model, PrefixStore& store, const SchedulerOptions& options, OnEnd on_end);

  // Behind those of its tenant that wait already.
  void enqueue(std::shared_ptr<Sequence> sequence) { waiting_.push(std::move(sequence)); }
  [[nodiscard]] bool idle() const { return waiting_.empty() && running_count() == 0; }

  // One round: drops cancelled requests, fills free slots, copies one slice of K/V, computes one prefill step and one token for each
  // decoding request. Where the context does not hold the next tokens of all, the request that started last leaves its slot to the others:
  // its K/V is stored, and it goes on when there is room.
  void step();

  // Ends everything with `failure`.
  void end_all(const engine::Failure& failure);

  // Counters so far, `queued` and `running` as they are now.
  [[nodiscard]] engine::EngineStats stats() const;

 private:
  [[nodiscard]] int running_count() const;
  void drop_cancelled();
  void admit();
  [[nodiscard]] bool prefix_is_coming(Sequence& sequence);
  [[nodiscard]] bool waits_for(Sequence& waiting, const Sequence& computing);
  [[nodiscard]] bool ask_holder(Sequence& waiting, Sequence& holder, std::size_t stored, std::size_t held);
  void start(std::shared_ptr<Sequence> sequence, llama_seq_id slot);
  void begin(Sequence& sequence);
  [[nodiscard]] std::size_t begin_restore(Sequence& sequence);

  [[nodiscard]] static std::size_t cells(const Sequence* sequence);
  [[nodiscard]] std::size_t running_cells() const;
  [[nodiscard]] bool fits(const Sequence& sequence) const;
  void make_room();
  void touch(const Sequence& sequence, std::size_t tokens);
  [[nodiscard]] bool give_back(std::size_t slot, std::size_t first_cell);
  void preempt(Sequence& sequence);
  void wait_again(Sequence& sequence);

  [[nodiscard]] Sequence* next_to_transfer();
  void transfer_step();
  void transfer(Sequence& sequence, TransferClock::time_point until);

  [[nodiscard]] std::tuple<std::size_t, bool, std::size_t> prefill_order(const Sequence& sequence) const;
  [[nodiscard]] Sequence* next_to_prefill();
  [[nodiscard]] std::size_t prefill_end(const Sequence& sequence) const;
  void prefill_step();
  void decode_step();
  void add_decode_rows(std::vector<Sequence*>* rows);
  void remove_padding();

  void accept(Sequence& sequence, std::int32_t row);
  void finish(Sequence& sequence, engine::FinishReason reason);
  void fail(Sequence& sequence, const engine::Failure& failure);
  [[nodiscard]] std::size_t storable_tokens(const Sequence& sequence) const;
  [[nodiscard]] bool can_save(const Sequence& sequence) const;
  void save_as_it_goes(Sequence& sequence);
  void release(Sequence& sequence);
  void begin_save_rest(Sequence& sequence);
  void leave(Sequence& sequence);

  const LlamaModel& model_;
  PrefixStore& store_;
  SchedulerOptions options_;
  PrefillCost cost_;
  OnEnd on_end_;
  ContextRoom room_;
  std::uint64_t starts_ = 0;
  bool save_at_once_ = false;       // a sliding window: cells that leave it are used again
  std::size_t save_every_tokens_;   // of a sequence that is being computed
  Batch batch_;
  FairQueue waiting_;
  std::vector<std::shared_ptr<Sequence>> slots_;   // by sequence id; null is free
  engine::EngineStats stats_;
};

}   // namespace tensorcache::llama
