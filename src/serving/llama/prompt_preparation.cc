#include "serving/llama/prompt_preparation.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "serving/engine/tenant.h"

namespace tensorcache::llama {
namespace {

// No load from disk is awaited longer, also while the engine's own speed is not known yet.
constexpr std::chrono::milliseconds kMaxLoadWait{10'000};

std::chrono::milliseconds time_to_compute(std::size_t tokens, std::chrono::duration<double> for_each) {
  if (for_each.count() <= 0) return kMaxLoadWait;
  const double ms = std::chrono::duration<double, std::milli>(for_each).count() * static_cast<double>(tokens);
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::clamp(ms, 1.0, static_cast<double>(kMaxLoadWait.count()))));
}

}   // namespace

std::optional<engine::Failure> PromptPreparation::prepare(Sequence& s) const {
  try {
    if (auto failure = tokenize(s)) return failure;
  } catch (const std::exception& error) {   // llama.cpp's tokenizers throw at text they have no token for
    return engine::Failure{engine::Failure::Code::kInternal, std::string("the prompt cannot be read: ") + error.what(), ""};
  }
  return std::nullopt;
}

std::optional<engine::Failure> PromptPreparation::tokenize(Sequence& s) const {
  const std::string context = std::to_string(info_.context_tokens);
  const char* const param = s.request->kind == engine::Request::Kind::kChat ? "messages" : "prompt";
  if (model_.surely_longer(*s.request, static_cast<std::size_t>(info_.context_tokens))) {
    return engine::Failure{engine::Failure::Code::kContextOverflow,
                           "the prompt is far longer than the model's context for one request, " + context + " tokens", param};
  }
  PromptError error;
  Prompt prompt = model_.prompt_of(*s.request, &error);
  if (prompt.tokens.empty()) return engine::Failure{engine::Failure::Code::kBadRequest, error.message, error.param};
  s.tokens = std::move(prompt.tokens);
  if (s.tokens.size() >= static_cast<std::size_t>(info_.context_tokens)) {
    return engine::Failure{engine::Failure::Code::kContextOverflow,
                           "the prompt has " + std::to_string(s.tokens.size()) + " tokens, and the model's context for one request is " + context +
                               " with at least one for the answer (--ctx-size)",
                           param};
  }
  s.prompt_tokens = s.prefill_tokens = s.tokens.size();
  try {
    s.begin_answer(model_, std::move(prompt.format));
  } catch (const std::exception& reason) {
    const char* const field = !s.request->grammar.empty() ? "grammar" : !s.request->json_schema.empty() ? "response_format" : "tools";
    return engine::Failure{engine::Failure::Code::kBadRequest, std::string(field) + " cannot be used: " + reason.what(), field};
  }
  if (info_.prefix_reuse && (s.request->use_prefix_cache || s.request->store_prefix)) {
    s.chain.emplace(model_.kv_fingerprint(), s.request->tenant, static_cast<std::size_t>(info_.block_tokens));
    s.chain->extend(s.tokens);
    s.owner = engine::tenant_owner(s.request->tenant);
  }
  return std::nullopt;
}

bool PromptPreparation::find_prefix(const SequencePtr& sequence, std::chrono::duration<double> time_for_each_token) {
  if (!info_.prefix_reuse || sequence->cancelled.load(std::memory_order_relaxed)) return false;
  const auto tokens = sequence->reusable_tokens();
  if (tokens.empty()) return false;
  sequence->prefix = store_.find(*sequence->chain, tokens);
  if (!cache_.has_lower_tiers()) return false;
  try {
    std::vector<Key> keys = store_.missing(sequence->prefix, *sequence->chain, tokens);
    if (keys.empty()) return false;
    const std::size_t blocks = keys.size() - sequence->prefix.blocks;
    const auto patience = time_to_compute(blocks * static_cast<std::size_t>(info_.block_tokens), time_for_each_token);
    return cache_.load(std::move(keys), patience,
                       [ref = loaded_.ref(), sequence] { ref.call([&](PromptPreparation* preparation) { preparation->take_loaded(sequence); }); });
  } catch (const std::bad_alloc&) {   // then what is in memory has to do
    return false;
  }
}

// Extends the sequence's prefix by what was loaded. The load may have ended early: then the prefix is looked up once more in its turn.
void PromptPreparation::take_loaded(const SequencePtr& sequence) {
  const auto tokens = sequence->reusable_tokens();
  sequence->prefix = store_.find(*sequence->chain, tokens);
  if (sequence->prefix.blocks < sequence->reusable().size()) sequence->prefix.as_of = 0;
  hand_over_(sequence);
}

}   // namespace tensorcache::llama
