// The state of one request in the engine.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "serving/llama/answer_format.h"
#include "serving/llama/answer_parser.h"
#include "serving/llama/prefix_transfer.h"
#include "serving/llama/sampler.h"
#include "serving/model/text_stream.h"
#include "store/prefix/block_chain.h"

namespace tensorcache::llama {

// Made by submit(), filled by the preparing thread, then owned by the context's thread; `cancelled` alone is shared.
struct Sequence {
  using Clock = std::chrono::steady_clock;

  Sequence(engine::Engine::Id i, std::shared_ptr<const engine::Request> r, std::shared_ptr<engine::Sink> s)
      : id(i), request(std::move(r)), sink(std::move(s)) {}

  engine::Engine::Id id;
  std::shared_ptr<const engine::Request> request;
  std::shared_ptr<engine::Sink> sink;
  std::atomic<bool> cancelled{false};

  std::vector<llama_token> tokens;   // of the prompt, then of the answer
  std::size_t prompt_tokens = 0;
  std::size_t prefill_tokens = 0;   // leading ones to compute before the next token: the prompt, or all that there were when it was preempted
  std::optional<prefix::BlockChain> chain;   // none: this request neither reuses nor leaves a prefix
  StoredPrefix prefix;                       // of the prompt: found when it is prepared, consumed when it gets its slot
  std::uint64_t owner = 0;

  llama_seq_id slot = -1;
  std::size_t computed = 0;       // leading tokens whose K/V is in the context, or is being restored
  std::size_t cached = 0;         // those of them that were restored
  std::size_t saved_blocks = 0;   // leading ones that it has begun to store
  std::optional<PrefixRestore> restoring;
  std::optional<PrefixSave> saving;
  bool ended = false;               // its client has the answer; the slot is kept until `saving` is complete
  bool preempted = false;           // it leaves its slot to others when `saving` is complete, and waits for one again
  bool begun = false;               // its client has been told
  std::uint64_t started_as = 0;     // its number among those that got a slot
  int passed_by = 0;                // requests that started while it did not fit into the context
  engine::Engine::Id awaited = 0;   // the request that was computing its prefix; 0: none yet
  int awaits = 0;                   // such requests so far
  bool asked_holder = false;        // another began to store the prefix for it
  int passed_over = 0;              // prefill steps that went to others in a row

  // Of the answer; from begin_answer() on.
  std::shared_ptr<const AnswerFormat> format;
  std::optional<Sampler> sampler;
  std::optional<model::TextStream> text;
  std::optional<AnswerParser> parser;
  std::int32_t generated = 0;

  Clock::time_point submitted = Clock::now(), started{}, first_token{};

  // Throws std::exception if the answer's grammar cannot be used.
  void begin_answer(const LlamaModel& model, std::shared_ptr<const AnswerFormat> answer_format) {
    format = std::move(answer_format);
    sampler.emplace(model, *request, *format, tokens);
    std::vector<std::string> stops = request->stop;
    stops.insert(stops.end(), format->stops.begin(), format->stops.end());
    text.emplace(std::move(stops));
    parser.emplace(format, KeyBuilder("prompt/1").field("tokens", std::span<const std::int32_t>(tokens)).build());
  }

  [[nodiscard]] bool running() const { return !ended && !preempted; }
  [[nodiscard]] bool prefilling() const { return running() && !restoring && computed < prefill_tokens; }
  [[nodiscard]] bool decoding() const { return running() && !restoring && computed >= prefill_tokens; }
  // The blocks that may be restored: the last token is always computed, for its logits.
  [[nodiscard]] std::span<const Key> reusable() const {
    if (!chain || !request->use_prefix_cache) return {};
    const auto keys = chain->keys();
    return keys.first(std::min(keys.size(), (prefill_tokens - 1) / chain->block_tokens()));
  }
  [[nodiscard]] std::span<const llama_token> reusable_tokens() const {
    if (!chain || !request->use_prefix_cache) return {};
    return std::span(tokens).first(prefill_tokens - 1);
  }
};

}   // namespace tensorcache::llama
