// A loaded GGUF model with its context: owns llama.cpp's objects, frees them in order, and provides
// tokenization and the model's fingerprints.
#pragma once

#include <llama.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serving/engine/request.h"
#include "serving/llama/chat_template.h"
#include "serving/llama/llama_options.h"
#include "serving/model/context_size.h"
#include "tensorcache/key.h"

namespace tensorcache::llama {

struct LlamaDeleter {
  void operator()(llama_model* model) const { llama_model_free(model); }
  void operator()(llama_context* context) const { llama_free(context); }
  void operator()(llama_adapter_lora* adapter) const { llama_adapter_lora_free(adapter); }
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
};

// A prompt that cannot be made from the request; `param` names the field.
struct PromptError {
  std::string message, param;
};

struct Prompt {
  std::vector<llama_token> tokens;
  std::shared_ptr<const AnswerFormat> format;
};

class LlamaModel {
 public:
  // Throws std::runtime_error that names the file or option.
  LlamaModel(const LlamaOptions& options, const std::function<void(float)>& progress);

  [[nodiscard]] llama_context* context() const { return context_.get(); }
  [[nodiscard]] const llama_model* model() const { return model_.get(); }
  [[nodiscard]] const llama_vocab* vocab() const { return vocab_; }
  [[nodiscard]] int vocab_tokens() const { return llama_vocab_n_tokens(vocab_); }

  // The request's tokens, none if there is an error. Any thread; reads only what never changes. Cost: ~1 ms for 1,000 words.
  [[nodiscard]] Prompt prompt_of(const engine::Request& request, PromptError* error) const;
  [[nodiscard]] std::vector<llama_token> tokenize(std::string_view text,
                                                  const engine::TokenizeOptions& options = {.add_special = true, .parse_special = true}) const;
  // A chat's prompt as text. Throws std::exception where the template refuses the messages.
  [[nodiscard]] std::string prompt_text(const engine::Request& request) const { return template_->render(request).prompt; }
  [[nodiscard]] const std::string& template_source() const { return template_->source(); }
  // The bytes of one token. Empty for control tokens, unless `control` asks for their text.
  [[nodiscard]] std::string piece(llama_token token, bool control = false) const;

  // What a token's K/V is a function of, besides the tokens before it; and what an answer is.
  [[nodiscard]] const Key& kv_fingerprint() const { return kv_fingerprint_; }
  // PutOptions::source of what it stores.
  [[nodiscard]] std::uint32_t source() const { return static_cast<std::uint32_t>(std::hash<Key>{}(kv_fingerprint_)); }
  [[nodiscard]] Key answer_fingerprint() const;
  // "" or the time, for a chat template that prints it: part of what such an answer depends on.
  [[nodiscard]] std::string answer_salt() const;

  // Tokens of all requests, and of each.
  [[nodiscard]] const model::ContextSize& context_size() const { return context_size_; }
  // Prompt tokens that one llama_decode takes at most.
  [[nodiscard]] std::size_t batch_tokens() const { return llama_n_batch(context_.get()); }

  // Whether a request cannot but be longer than that; a look at its size, where tokenize() would read all of it.
  [[nodiscard]] bool surely_longer(const engine::Request& request, std::size_t tokens) const;

  // Ends a running llama_decode soon (with 2), and every later one at once. Any thread.
  void abort() { abort_.store(true, std::memory_order_relaxed); }

 private:
  void load_model(const LlamaOptions& options, const std::function<void(float)>& progress);
  void load_adapters(const LlamaOptions& options);
  void make_context(const LlamaOptions& options);
  void make_fingerprint(const LlamaOptions& options, const std::vector<Key>& digests);

  std::unique_ptr<llama_model, LlamaDeleter> model_;
  std::vector<std::pair<std::unique_ptr<llama_adapter_lora, LlamaDeleter>, float>> adapters_;
  std::unique_ptr<llama_context, LlamaDeleter> context_;   // after the model and adapters it uses
  const llama_vocab* vocab_ = nullptr;
  std::optional<ChatTemplate> template_;   // from the constructor on
  std::size_t longest_token_bytes_ = 1;
  model::ContextSize context_size_;
  std::atomic<bool> abort_{false};
  Key kv_fingerprint_;
  std::int32_t rows_per_decode_ = 0, prefill_step_ = 0;   // with `deterministic`, which makes them part of an answer
};

// Tokens in a prefix block, and so in a prefill step of a deterministic engine.
[[nodiscard]] int block_tokens(const LlamaOptions& options);
[[nodiscard]] int thread_count(int asked);

}   // namespace tensorcache::llama
