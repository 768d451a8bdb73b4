// What happens to a request before the context: its text becomes tokens and keys, and its stored prefix is looked up.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "base/core/callback_target.h"
#include "serving/engine/engine.h"
#include "serving/llama/llama_model.h"
#include "serving/llama/prefix_store.h"
#include "serving/llama/sequence.h"
#include "tensorcache/cache.h"

namespace tensorcache::llama {

// THREADS: prepare() and find_prefix() on one thread; close() anywhere.
class PromptPreparation {
 public:
  using SequencePtr = std::shared_ptr<Sequence>;
  using HandOver = std::function<void(SequencePtr)>;

  // `hand_over` gets each sequence whose prefix came from disk, on a thread of the cache; it does not fail.
  // REQUIRES: all others outlive this object, and `info` is filled before the first call.
  PromptPreparation(LlamaModel& model, PrefixStore& store, Cache& cache, const engine::EngineInfo& info, HandOver hand_over)
      : model_(model), store_(store), cache_(cache), info_(info), hand_over_(std::move(hand_over)) {}

  // Template, tokens, keys. RETURNS: why the request cannot be computed, or nothing.
  [[nodiscard]] std::optional<engine::Failure> prepare(Sequence& sequence) const;

  // Finds the prompt's stored prefix. RETURNS: whether more of it comes from disk first, so that `hand_over` gets the sequence later. That is
  // so only where it is expected to be faster than computing it, and takes no longer than that.
  [[nodiscard]] bool find_prefix(const SequencePtr& sequence, std::chrono::duration<double> time_for_each_token);

  // Waits for calls of `hand_over` that are running; none begins afterwards.
  void close() { loaded_.close(); }

 private:
  [[nodiscard]] std::optional<engine::Failure> tokenize(Sequence& sequence) const;
  void take_loaded(const SequencePtr& sequence);

  LlamaModel& model_;
  PrefixStore& store_;
  Cache& cache_;
  const engine::EngineInfo& info_;
  const HandOver hand_over_;
  CallbackTarget<PromptPreparation*> loaded_{this};   // of the cache, when a prefix has come from disk
};

}   // namespace tensorcache::llama
