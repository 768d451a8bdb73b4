#include "serving/llama/llama_model.h"

#include <log.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "serving/llama/answer_format.h"
#include "serving/llama/context_memory.h"
#include "serving/model/file_digest.h"
#include "store/sizing/memory_reading.h"

namespace tensorcache::llama {
namespace {

// llama.cpp says why it failed only in its log.
std::mutex log_mutex;
std::string last_llama_error;

void on_llama_log(ggml_log_level level, const char* text, void*) {
  std::string line(text);
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
  if (line.empty()) return;
  if (level == GGML_LOG_LEVEL_ERROR) {
    {
      const std::lock_guard lock(log_mutex);
      if (last_llama_error.empty()) last_llama_error = line;   // the first of a cascade is the cause
    }
    spdlog::debug("llama.cpp error: {}", line);
  } else {
    spdlog::trace("llama.cpp: {}", line);
  }
}

std::string take_llama_error() {
  const std::lock_guard lock(log_mutex);
  return last_llama_error.empty() ? "llama.cpp gave no reason" : std::exchange(last_llama_error, {});
}

// What llama.cpp says of these is hard to read, so look first.
void check_gguf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("--model: " + path + ": " + std::strerror(errno));
  char magic[4] = {};
  if (!file.read(magic, sizeof magic) || std::memcmp(magic, "GGUF", 4) != 0) {
    throw std::runtime_error("--model: " + path + ": not a GGUF file");
  }
}

ggml_type kv_type(const std::string& option, const std::string& name) {
  static constexpr ggml_type kTypes[] = {GGML_TYPE_F32,  GGML_TYPE_F16,    GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,
                                         GGML_TYPE_Q4_1, GGML_TYPE_IQ4_NL, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1};
  std::string all;
  for (const ggml_type type : kTypes) {
    if (name == ggml_type_name(type)) return type;
    all += std::string(all.empty() ? "" : ", ") + ggml_type_name(type);
  }
  throw std::runtime_error(option + ": unknown type '" + name + "' (one of " + all + ")");
}

llama_flash_attn_type flash_attn_type(const std::string& name) {
  if (name == "on") return LLAMA_FLASH_ATTN_TYPE_ENABLED;
  if (name == "off") return LLAMA_FLASH_ATTN_TYPE_DISABLED;
  if (name == "auto") return LLAMA_FLASH_ATTN_TYPE_AUTO;
  throw std::runtime_error("--flash-attn: '" + name + "' is not one of on, off, auto");
}

// Approximate: f16, all layers with the same heads.
std::uint64_t kv_token_bytes(const llama_model* model) {
  const auto heads = static_cast<std::uint64_t>(std::max(1, llama_model_n_head(model)));
  return 4ULL * static_cast<std::uint64_t>(llama_model_n_layer(model)) * static_cast<std::uint64_t>(llama_model_n_embd(model)) *
         static_cast<std::uint64_t>(llama_model_n_head_kv(model)) / heads;
}

// Of the machine, or of the container. Not of what is free just now: the same command must have the same context after each start.
std::uint64_t machine_memory_bytes() {
  const auto memory = sizing::make_memory_reader()->read();
  return memory ? memory->total_bytes : UINT64_MAX;
}

// Whether each sequence may have as many cells as all of them together: where the memory of cells that are not in use can be given back,
// and where no result depends on which other requests there are.
bool can_share_context(const llama_model* model, const LlamaOptions& options) {
  const bool on_device = llama_supports_gpu_offload() && options.gpu_layers != 0;
  return !options.deterministic && !on_device && !llama_model_is_recurrent(model) && !llama_model_is_hybrid(model);
}

// All files of a model that is split as name-00001-of-00003.gguf, else the one.
std::vector<std::string> model_files(const std::string& path) {
  const std::size_t of = path.rfind("-of-");
  constexpr std::size_t kTail = sizeof "-of-00003.gguf" - 1;
  if (of == std::string::npos || of < 6 || of + kTail != path.size() || !path.ends_with(".gguf")) return {path};
  const int count = std::atoi(path.substr(of + 4, 5).c_str());
  std::vector<std::string> files;
  for (int i = 1; i <= count; ++i) {
    char number[16];
    std::snprintf(number, sizeof number, "-%05d", i);
    files.push_back(path.substr(0, of - 6) + number + path.substr(of));
  }
  return files.empty() ? std::vector{path} : files;
}

std::vector<Key> digest_files(const LlamaOptions& options) {
  std::vector<Key> digests;
  for (const auto& file : model_files(options.model_path)) digests.push_back(model::file_digest(file, options.fingerprint_cache_path));
  for (const auto& [path, scale] : options.loras) digests.push_back(model::file_digest(path, options.fingerprint_cache_path));
  return digests;
}

// The original context length of a model with two sets of rope factors, of which llama.cpp takes one by the context's size; else 0.
std::uint32_t original_context(const llama_model* model) {
  char architecture[64] = {}, tokens[32] = {};
  if (llama_model_meta_val_str(model, "general.architecture", architecture, sizeof architecture) < 0) return 0;
  const std::string name = std::string(architecture) + ".rope.scaling.original_context_length";
  if (llama_model_meta_val_str(model, name.c_str(), tokens, sizeof tokens) < 0) return 0;
  return static_cast<std::uint32_t>(std::strtoul(tokens, nullptr, 10));
}

}   // namespace

int block_tokens(const LlamaOptions& options) { return options.block_tokens > 0 ? options.block_tokens : options.deterministic ? 64 : 32; }

int thread_count(int asked) { return asked > 0 ? asked : std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

LlamaModel::LlamaModel(const LlamaOptions& options, const std::function<void(float)>& progress) {
  static std::once_flag once;
  std::call_once(once, [] {
    llama_log_set(on_llama_log, nullptr);
    common_log_set_verbosity_thold(LOG_LEVEL_OUTPUT - 1);   // what it would print is in the exceptions
    llama_backend_init();
  });
  check_gguf(options.model_path);
  auto digests = std::async(std::launch::async, digest_files, options);   // reads the file while llama.cpp loads it
  load_model(options, progress);
  load_adapters(options);
  make_context(options);
  make_fingerprint(options, digests.get());
}

void LlamaModel::load_model(const LlamaOptions& options, const std::function<void(float)>& progress) {
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = options.gpu_layers;
  params.load_mode = options.mmap ? LLAMA_LOAD_MODE_AUTO : LLAMA_LOAD_MODE_NONE;
  params.progress_callback_user_data = const_cast<void*>(static_cast<const void*>(&progress));
  params.progress_callback = [](float share, void* data) {
    const auto& report = *static_cast<const std::function<void(float)>*>(data);
    if (report) report(share);
    return true;
  };
  model_.reset(llama_model_load_from_file(options.model_path.c_str(), params));
  if (!model_) throw std::runtime_error("--model: " + options.model_path + ": cannot be loaded: " + take_llama_error());
  if (llama_model_has_encoder(model_.get()) || !llama_model_has_decoder(model_.get())) {
    throw std::runtime_error("--model: " + options.model_path + ": not a text generation model (it has an encoder)");
  }
  vocab_ = llama_model_get_vocab(model_.get());
  template_.emplace(model_.get(), options.chat_template);
  for (llama_token token = 0; token < vocab_tokens(); ++token) longest_token_bytes_ = std::max(longest_token_bytes_, piece(token).size());
}

void LlamaModel::load_adapters(const LlamaOptions& options) {
  for (const auto& [path, scale] : options.loras) {
    std::unique_ptr<llama_adapter_lora, LlamaDeleter> adapter(llama_adapter_lora_init(model_.get(), path.c_str()));
    if (!adapter) throw std::runtime_error("--lora: " + path + ": cannot be loaded: " + take_llama_error());
    adapters_.emplace_back(std::move(adapter), scale);
  }
}

void LlamaModel::make_context(const LlamaOptions& options) {
  if (options.parallel < 1 || static_cast<std::size_t>(options.parallel) > llama_max_parallel_sequences()) {
    throw std::runtime_error("--parallel: must be 1 to " + std::to_string(llama_max_parallel_sequences()));
  }
  if (options.deterministic && (llama_model_is_recurrent(model_.get()) || llama_model_is_hybrid(model_.get()))) {
    throw std::runtime_error("--deterministic: is not possible with a recurrent or hybrid model");   // padding rows would change its state
  }
  const int block = block_tokens(options);
  if (options.batch_size < block) {
    throw std::runtime_error("--batch-size: must be at least the block size, " + std::to_string(block));
  }
  llama_context_params params = llama_context_default_params();
  context_size_ = model::context_size({.asked_tokens = static_cast<std::uint32_t>(options.ctx_size),
                                       .trained_tokens = static_cast<std::uint32_t>(llama_model_n_ctx_train(model_.get())),
                                       .sequences = static_cast<std::uint32_t>(options.parallel),
                                       .shared = can_share_context(model_.get(), options),
                                       .token_bytes = kv_token_bytes(model_.get()),
                                       .memory_bytes = machine_memory_bytes()});
  if (options.ctx_size == 0 && context_size_.sequence_tokens < static_cast<std::uint32_t>(llama_model_n_ctx_train(model_.get()))) {
    spdlog::info("context of {} tokens for one request, of the model's {}: a quarter of the memory, and 32768 at most (--ctx-size)",
                 context_size_.sequence_tokens, llama_model_n_ctx_train(model_.get()));
  }
  params.n_ctx = context_size_.sequence_tokens * static_cast<std::uint32_t>(options.parallel);
  params.n_batch = static_cast<std::uint32_t>(std::max(options.batch_size, options.parallel));
  params.n_ubatch = params.n_batch;
  params.n_seq_max = static_cast<std::uint32_t>(options.parallel);
  params.n_outputs_max = params.n_seq_max;
  params.n_threads = thread_count(options.threads);
  params.n_threads_batch = thread_count(options.threads_batch > 0 ? options.threads_batch : options.threads);
  params.flash_attn_type = flash_attn_type(options.flash_attn);
  params.type_k = kv_type("--cache-type-k", options.cache_type_k);
  params.type_v = kv_type("--cache-type-v", options.cache_type_v);
  params.swa_full = true;      // a prefix may be taken up again at any block
  params.kv_unified = false;   // cells of its own for each request: others' cost nothing, and bits do not depend on neighbours
  params.no_perf = true;
  params.abort_callback = [](void* data) { return static_cast<const std::atomic<bool>*>(data)->load(std::memory_order_relaxed); };
  params.abort_callback_data = &abort_;
  {
    const UntouchedBuffers untouched;
    context_.reset(llama_init_from_model(model_.get(), params));
  }
  if (!context_) {
    throw std::runtime_error("--ctx-size: no context of " + std::to_string(params.n_ctx) + " tokens: " + take_llama_error());
  }
  std::vector<llama_adapter_lora*> adapters;
  std::vector<float> scales;
  for (const auto& [adapter, scale] : adapters_) {
    adapters.push_back(adapter.get());
    scales.push_back(scale);
  }
  if (!adapters.empty() && llama_set_adapters_lora(context_.get(), adapters.data(), adapters.size(), scales.data()) != 0) {
    throw std::runtime_error("--lora: the adapters cannot be applied to this model: " + take_llama_error());
  }
}

void LlamaModel::make_fingerprint(const LlamaOptions& options, const std::vector<Key>& digests) {
  KeyBuilder key("model/1");
  key.field("engine", llama_version()).field("system", llama_print_system_info());
  key.field("files", static_cast<std::uint64_t>(digests.size()));
  for (const Key& digest : digests) key.field("file", digest);
  for (const auto& [path, scale] : options.loras) key.field("lora_scale", static_cast<double>(scale));
  key.field("type_k", options.cache_type_k).field("type_v", options.cache_type_v).field("flash_attn", options.flash_attn);
  key.field("gpu_layers", options.gpu_layers);
  const std::uint32_t original = original_context(model_.get());
  key.field("long_context", original > 0 && llama_n_ctx_seq(context_.get()) > original);
  key.field("deterministic", options.deterministic);
  if (options.deterministic) {   // promises bits, so what may move a bit belongs to it
    key.field("threads", thread_count(options.threads)).field("threads_batch", thread_count(options.threads_batch));
    rows_per_decode_ = options.parallel;
    prefill_step_ = block_tokens(options);
  }
  kv_fingerprint_ = key.build();
}

Key LlamaModel::answer_fingerprint() const {
  return KeyBuilder("answer-model/3")
      .field("kv", kv_fingerprint_)
      .field("chat_template", template_->source())
      .field("rows_per_decode", rows_per_decode_)
      .field("prefill_step", prefill_step_)
      .build();
}

std::string LlamaModel::answer_salt() const { return model::time_salt(template_->time(), std::time(nullptr)); }

bool LlamaModel::surely_longer(const engine::Request& request, std::size_t tokens) const {
  std::size_t bytes = request.prompt.size();
  for (const engine::Message& message : request.messages) bytes += message.content.size();
  return request.messages.size() > tokens || request.prompt_tokens.size() > tokens || bytes / longest_token_bytes_ > tokens;
}

Prompt LlamaModel::prompt_of(const engine::Request& request, PromptError* error) const {
  Prompt prompt;
  if (auto unusable = unusable_schema(request)) {
    *error = {unusable->first + ": this JSON schema cannot be used: " + unusable->second, unusable->first};
    return {};
  }
  if (request.kind == engine::Request::Kind::kChat) {
    try {   // templates refuse what they do not support, such as two user turns in a row
      Rendered rendered = template_->render(request);
      prompt.format = std::move(rendered.format);
      prompt.tokens = tokenize(rendered.prompt);
    } catch (const std::exception& reason) {
      *error = {std::string("messages: the model's chat template refuses them: ") + reason.what(), "messages"};
      return {};
    }
    if (prompt.tokens.empty()) *error = {"the prompt has no tokens", "messages"};
    return prompt;
  }
  prompt.format = std::make_shared<AnswerFormat>(completion_format(request));
  for (const std::int32_t token : request.prompt_tokens) {
    if (token >= 0 && token < vocab_tokens()) continue;
    *error = {"prompt: token " + std::to_string(token) + " is not in the model's vocabulary of " + std::to_string(vocab_tokens()), "prompt"};
    return {};
  }
  prompt.tokens = request.prompt_tokens.empty() ? tokenize(request.prompt) : request.prompt_tokens;
  if (prompt.tokens.empty()) *error = {"the prompt has no tokens", "prompt"};
  return prompt;
}

std::vector<llama_token> LlamaModel::tokenize(std::string_view text, const engine::TokenizeOptions& options) const {
  const auto length = static_cast<std::int32_t>(text.size());
  std::vector<llama_token> tokens(text.size() + 8);
  const auto room = static_cast<std::int32_t>(tokens.size());
  std::int32_t count = llama_tokenize(vocab_, text.data(), length, tokens.data(), room, options.add_special, options.parse_special);
  if (count < 0 && count != INT32_MIN) {
    tokens.resize(static_cast<std::size_t>(-count));
    count = llama_tokenize(vocab_, text.data(), length, tokens.data(), -count, options.add_special, options.parse_special);
  }
  tokens.resize(static_cast<std::size_t>(std::max(count, 0)));
  return tokens;
}

std::string LlamaModel::piece(llama_token token, bool control) const {
  std::string text(32, '\0');
  std::int32_t length = llama_token_to_piece(vocab_, token, text.data(), static_cast<std::int32_t>(text.size()), 0, control);
  if (length < 0) {
    text.resize(static_cast<std::size_t>(-length));
    length = llama_token_to_piece(vocab_, token, text.data(), -length, 0, control);
  }
  text.resize(static_cast<std::size_t>(std::max(length, 0)));
  return text;
}

}   // namespace tensorcache::llama
