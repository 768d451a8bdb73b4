// A loaded GGUF model with its context: what llama.cpp owns, freed in the right order, and what depends on the model alone
// (text to tokens, tokens to text, its fingerprints).
#pragma once

#include <llama.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/llama_engine.h"

struct common_chat_templates;

namespace tensorcache {

struct LlamaDeleter {
  void operator()(llama_model* model) const { llama_model_free(model); }
  void operator()(llama_context* context) const { llama_free(context); }
  void operator()(llama_adapter_lora* adapter) const { llama_adapter_lora_free(adapter); }
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
  void operator()(common_chat_templates* templates) const;
};

// A prompt that cannot be made from the request; `param` names the field.
struct PromptError {
  std::string message, param;
};

class LlamaModel {
 public:
  // Throws std::runtime_error that names the file or option.
  LlamaModel(const LlamaOptions& options, const std::function<void(float)>& progress);

  [[nodiscard]] llama_context* context() const { return context_.get(); }
  [[nodiscard]] const llama_model* model() const { return model_.get(); }
  [[nodiscard]] const llama_vocab* vocab() const { return vocab_; }
  [[nodiscard]] int vocab_tokens() const { return llama_vocab_n_tokens(vocab_); }

  // The request's tokens. Any thread; reads only what never changes. Cost: ~1 ms for 1,000 words.
  [[nodiscard]] std::vector<llama_token> tokenize(const Request& request, PromptError* error) const;
  // The bytes of one token. Empty for control tokens.
  [[nodiscard]] std::string piece(llama_token token) const;

  // What a token's K/V is a function of, besides the tokens before it; and what an answer is.
  [[nodiscard]] const Key& kv_fingerprint() const { return kv_fingerprint_; }
  [[nodiscard]] Key answer_fingerprint() const;
  // "" or the day, for a chat template that prints it: part of what such an answer depends on.
  [[nodiscard]] std::string template_date() const;

 private:
  void load_model(const LlamaOptions& options, const std::function<void(float)>& progress);
  void load_adapters(const LlamaOptions& options);
  void make_context(const LlamaOptions& options);
  void make_fingerprint(const LlamaOptions& options, const std::vector<Key>& digests);
  [[nodiscard]] std::string render(const Request& request) const;

  std::unique_ptr<llama_model, LlamaDeleter> model_;
  std::vector<std::pair<std::unique_ptr<llama_adapter_lora, LlamaDeleter>, float>> adapters_;
  std::unique_ptr<llama_context, LlamaDeleter> context_;   // after the model and adapters it uses
  std::unique_ptr<common_chat_templates, LlamaDeleter> templates_;
  const llama_vocab* vocab_ = nullptr;
  std::string template_source_;
  bool template_has_date_ = false;
  Key kv_fingerprint_;
  std::int32_t rows_per_decode_ = 0;   // with `deterministic`, which makes it part of an answer
};

// Tokens in a prefix block, and so in a prefill step of a deterministic engine.
[[nodiscard]] int block_tokens(const LlamaOptions& options);
[[nodiscard]] int thread_count(int asked);

}   // namespace tensorcache
