#include "serving/llama/llama_engine.h"

#include <algorithm>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "serving/llama/fair_queue.h"
#include "serving/llama/prompt_preparation.h"
#include "serving/llama/scheduler.h"

namespace tensorcache::llama {
namespace {

using SequencePtr = std::shared_ptr<Sequence>;

// Tokens of the context that one request may have. An equal part where memory that one has used cannot be given to others.
std::size_t request_tokens(const LlamaModel& model, const PrefixStore& store) {
  const model::ContextSize size = model.context_size();
  return store.pages() ? size.sequence_tokens : std::min(size.sequence_tokens, size.total_tokens / llama_n_seq_max(model.context()));
}

// submit() → preparing thread (template, tokens, keys) → context thread (Scheduler). Each hand-over is a queue under `mutex_`.
class LlamaEngine final : public engine::Engine {
 public:
  LlamaEngine(const LlamaOptions& options, Cache& cache, const std::function<void(float)>& progress, engine::FinishedObserver on_finished)
      : options_(options),
        model_(options, progress),
        store_(model_, cache, block_tokens(options), !options.deterministic),
        scheduler_(model_, store_, scheduler_options(std::move(on_finished)), [this](const Sequence& s) { forget(s); }),
        tenant_limit_(options.max_queue_per_tenant),
        preparation_(model_, store_, cache, info_, [this](SequencePtr s) { hand_over(std::move(s)); }) {
    make_context_ready();
    fill_info();
    preparing_ = std::thread([this] { prepare_loop(); });
    computing_ = std::thread([this] { compute_loop(); });
    if (options_.prefix_cache && options_.warm_up) warming_ = std::jthread([this](const std::stop_token& stop) { warm_up(stop); });
  }

  ~LlamaEngine() override { stop(std::chrono::steady_clock::now()); }

  const engine::EngineInfo& info() const override { return info_; }
  std::string answer_salt() const override { return model_.answer_salt(); }
  std::variant<std::vector<std::int32_t>, engine::Failure> tokenize(const engine::Request& request) const override;
  std::variant<std::string, engine::Failure> prompt_text(const engine::Request& request) const override;
  std::variant<std::vector<std::int32_t>, engine::Failure> tokenize_text(std::string_view text,
                                                                         const engine::TokenizeOptions& options) const override;
  std::string token_bytes(std::int32_t token) const override { return model_.piece(token, true); }

  Id submit(std::shared_ptr<const engine::Request> request, std::shared_ptr<engine::Sink> sink) override;
  void cancel(Id id) override;
  void limit_tenant(int waiting) override;
  engine::EngineStats stats() const override;
  void stop(std::chrono::steady_clock::time_point deadline) override;

 private:
  [[nodiscard]] SchedulerOptions scheduler_options(engine::FinishedObserver on_finished) const;
  void fill_info();
  [[nodiscard]] std::optional<engine::Failure> refusal(const std::string& tenant) const;
  void prepare_loop();
  void end_unprepared(const Sequence& sequence, const engine::Failure& failure);
  [[nodiscard]] std::chrono::duration<double> time_for_each_token() const;
  void hand_over(SequencePtr sequence) noexcept;
  void enqueue_prepared() noexcept;
  void compute_loop();
  void end_all_after(const std::exception& error) noexcept;
  void make_context_ready() const;
  void warm_up(const std::stop_token& stop);
  void forget(const Sequence& sequence);

  const LlamaOptions options_;
  LlamaModel model_;
  PrefixStore store_;     // context thread only, after construction; find() and missing() anywhere
  Scheduler scheduler_;   // context thread only
  engine::EngineInfo info_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;              // any of the below
  std::unordered_map<Id, SequencePtr> active_;   // from submit() to the last event
  std::unordered_map<std::string, int> active_by_tenant_;
  int tenant_limit_;   // LlamaOptions::max_queue_per_tenant
  FairQueue unprepared_;
  std::vector<SequencePtr> prepared_;   // has room for all of `active_`
  engine::EngineStats stats_;           // the scheduler's, as of its last step
  Id next_id_ = 1;
  std::uint64_t refused_ = 0, too_long_ = 0, overloaded_ = 0;
  bool refusing_ = false;      // stop() has begun
  bool cutting_off_ = false;   // its deadline has come

  PromptPreparation preparation_;   // its lock goes before mutex_

  std::thread preparing_, computing_;
  std::jthread warming_;
};

SchedulerOptions LlamaEngine::scheduler_options(engine::FinishedObserver on_finished) const {
  return {.block_tokens = static_cast<std::size_t>(block_tokens(options_)),
          .batch_tokens = std::min(static_cast<std::size_t>(options_.batch_size), model_.batch_tokens()),
          .context_tokens = model_.context_size().total_tokens,
          .request_tokens = request_tokens(model_, store_),
          .parallel = options_.parallel,
          .deterministic = options_.deterministic,
          .attention_in_tiles = !llama_supports_gpu_offload() && options_.flash_attn != "off",
          .transfer_slice = options_.transfer_slice,
          .on_finished = std::move(on_finished)};
}

// An equal part for each slot: so the process has all of the context's memory before its cache is sized by what is left.
void LlamaEngine::make_context_ready() const {
  if (!store_.pages()) return;
  const std::size_t slots = static_cast<std::size_t>(options_.parallel);
  for (std::size_t slot = 0; slot < slots; ++slot) {
    store_.pages()->make_ready(static_cast<llama_seq_id>(slot), model_.context_size().total_tokens / slots);
  }
}

void LlamaEngine::fill_info() {
  struct stat status{};
  info_.model_path = std::filesystem::path(options_.model_path).filename().string();
  info_.model_name = options_.alias.empty() ? info_.model_path : options_.alias;
  info_.aliases = options_.more_aliases;
  info_.trained_context_tokens = llama_model_n_ctx_train(model_.model());
  info_.embedding_size = llama_model_n_embd(model_.model());
  info_.parameters = llama_model_n_params(model_.model());
  info_.model_bytes = llama_model_size(model_.model());
  info_.chat_template = model_.template_source();
  const auto special = [&](llama_token token) { return token == LLAMA_TOKEN_NULL ? std::string() : model_.piece(token, true); };
  info_.bos_token = special(llama_vocab_bos(model_.vocab()));
  info_.eos_token = special(llama_vocab_eos(model_.vocab()));
  info_.slots = options_.parallel;
  info_.answer_fingerprint = model_.answer_fingerprint();
  if (::stat(options_.model_path.c_str(), &status) == 0) info_.created_unix_s = status.st_mtim.tv_sec;
  info_.context_tokens = static_cast<std::int32_t>(request_tokens(model_, store_));
  info_.total_context_tokens = static_cast<std::int32_t>(model_.context_size().total_tokens);
  info_.vocab_tokens = model_.vocab_tokens();
  info_.source = model_.source();
  info_.threads = llama_n_threads(model_.context());
  info_.prefix_reuse = options_.prefix_cache && store_.usable();
  info_.block_tokens = block_tokens(options_);
  if (info_.prefix_reuse) info_.block_bytes = store_.block_bytes();
  info_.prefix_reuse_note = options_.prefix_cache ? store_.note() : "switched off";
}

engine::Engine::Id LlamaEngine::submit(std::shared_ptr<const engine::Request> request, std::shared_ptr<engine::Sink> sink) {
  std::optional<engine::Failure> refused;
  {
    const std::lock_guard lock(mutex_);
    refused = refusal(request->tenant);
    if (!refused) {
      const Id id = next_id_++;
      auto sequence = std::make_shared<Sequence>(id, std::move(request), std::move(sink));
      prepared_.reserve(active_.size() + 1);   // so that hand_over() cannot fail
      int& own = active_by_tenant_[sequence->request->tenant];
      unprepared_.push(sequence);
      try {
        active_.emplace(id, sequence);
      } catch (const std::bad_alloc&) {   // the caller is told by the exception, and nothing is left of it
        static_cast<void>(unprepared_.take_if([&](const Sequence& s) { return s.id == id; }));
        if (own == 0) active_by_tenant_.erase(sequence->request->tenant);
        throw;
      }
      ++own;
      changed_.notify_all();
      return id;
    }
    ++(refused->code == engine::Failure::Code::kOverloaded ? overloaded_ : refused_);
  }
  sink->on_failure(*refused);
  return 0;
}

std::optional<engine::Failure> LlamaEngine::refusal(const std::string& tenant) const {
  if (refusing_) return engine::Failure{engine::Failure::Code::kShuttingDown, "the server is shutting down", ""};
  if (active_.size() >= static_cast<std::size_t>(options_.parallel + options_.max_queue)) {
    return engine::Failure{engine::Failure::Code::kOverloaded,
                           "the queue is full (" + std::to_string(options_.max_queue) + " requests wait); try again later", ""};
  }
  const auto own = active_by_tenant_.find(tenant);
  if (tenant_limit_ > 0 && own != active_by_tenant_.end() && own->second >= options_.parallel + tenant_limit_) {
    return engine::Failure{engine::Failure::Code::kOverloaded,
                           "the queue is full for this tenant (" + std::to_string(tenant_limit_) + " of its requests wait); try again later", ""};
  }
  return std::nullopt;
}

std::variant<std::vector<std::int32_t>, engine::Failure> LlamaEngine::tokenize(const engine::Request& request) const {
  try {
    PromptError error;
    Prompt prompt = model_.prompt_of(request, &error);
    if (prompt.tokens.empty()) return engine::Failure{engine::Failure::Code::kBadRequest, error.message, error.param};
    return std::move(prompt.tokens);
  } catch (const std::exception& error) {   // llama.cpp's tokenizers throw at text they have no token for
    return engine::Failure{engine::Failure::Code::kInternal, std::string("the prompt cannot be read: ") + error.what(), ""};
  }
}

std::variant<std::string, engine::Failure> LlamaEngine::prompt_text(const engine::Request& request) const {
  try {
    return model_.prompt_text(request);
  } catch (const std::exception& error) {   // templates refuse what they do not support
    return engine::Failure{engine::Failure::Code::kBadRequest, std::string("messages: the model's chat template refuses them: ") + error.what(),
                           "messages"};
  }
}

std::variant<std::vector<std::int32_t>, engine::Failure> LlamaEngine::tokenize_text(std::string_view text,
                                                                                    const engine::TokenizeOptions& options) const {
  try {
    return model_.tokenize(text, options);
  } catch (const std::exception& error) {   // llama.cpp's tokenizers throw at text they have no token for
    return engine::Failure{engine::Failure::Code::kBadRequest, std::string("content: the text cannot be tokenized: ") + error.what(), "content"};
  }
}

void LlamaEngine::cancel(Id id) {
  const std::lock_guard lock(mutex_);
  if (const auto found = active_.find(id); found != active_.end()) {
    found->second->cancelled.store(true, std::memory_order_relaxed);
    changed_.notify_all();
  }
}

void LlamaEngine::forget(const Sequence& sequence) {
  const std::lock_guard lock(mutex_);
  active_.erase(sequence.id);
  const auto own = active_by_tenant_.find(sequence.request->tenant);
  if (own != active_by_tenant_.end() && --own->second == 0) active_by_tenant_.erase(own);
  changed_.notify_all();
}

void LlamaEngine::prepare_loop() {
  for (;;) {
    SequencePtr sequence;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return cutting_off_ || !unprepared_.empty(); });
      if (cutting_off_) return;   // the context thread ends what is left
      const auto any = [](const Sequence&) { return true; };
      try {
        sequence = unprepared_.take({}, any);   // tenants take turns here too: long prompts take long
      } catch (const std::bad_alloc&) {         // then without turns
        sequence = unprepared_.take_if(any);
      }
    }
    // A cancelled one goes on to the context thread too, which ends it.
    if (!sequence->cancelled.load(std::memory_order_relaxed)) {
      if (const auto failure = preparation_.prepare(*sequence)) {
        end_unprepared(*sequence, *failure);
        continue;
      }
      sequence->sink->on_accepted();
    }
    if (!preparation_.find_prefix(sequence, time_for_each_token())) hand_over(std::move(sequence));
  }
}

void LlamaEngine::end_unprepared(const Sequence& sequence, const engine::Failure& failure) {
  {
    const std::lock_guard lock(mutex_);
    ++(failure.code == engine::Failure::Code::kContextOverflow ? too_long_ : refused_);
  }
  sequence.sink->on_failure(failure);
  forget(sequence);
}

// 0 before anything has been computed.
std::chrono::duration<double> LlamaEngine::time_for_each_token() const {
  const std::lock_guard lock(mutex_);
  if (stats_.prefilled_tokens == 0) return {};
  return std::chrono::duration<double>(stats_.prefill_seconds / static_cast<double>(stats_.prefilled_tokens));
}

void LlamaEngine::limit_tenant(int waiting) {
  const std::lock_guard lock(mutex_);
  tenant_limit_ = waiting;
}

void LlamaEngine::hand_over(SequencePtr sequence) noexcept {
  const std::lock_guard lock(mutex_);
  prepared_.push_back(std::move(sequence));
  changed_.notify_all();
}

// What there is no memory for stays: for the next round, or for stop(). REQUIRES: mutex_ is held.
void LlamaEngine::enqueue_prepared() noexcept {
  std::ptrdiff_t done = 0;
  try {
    for (const SequencePtr& sequence : prepared_) {
      scheduler_.enqueue(sequence);
      ++done;
    }
    while (cutting_off_ && !unprepared_.empty()) scheduler_.enqueue(unprepared_.take_if([](const Sequence&) { return true; }));
  } catch (const std::bad_alloc&) {   // NOLINT: see above
  }
  prepared_.erase(prepared_.begin(), prepared_.begin() + done);
}

void LlamaEngine::compute_loop() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      stats_ = scheduler_.stats();
      changed_.wait(lock, [this] { return cutting_off_ || !prepared_.empty() || !scheduler_.idle(); });
      enqueue_prepared();
      if (cutting_off_) break;
    }
    try {
      scheduler_.step();
    } catch (const std::exception& error) {   // out of memory, say: these requests' loss, not the server's
      end_all_after(error);
    }
  }
  scheduler_.end_all({engine::Failure::Code::kShuttingDown, "the server is shutting down", ""});
}

// Without memory even for this, the next step ends them.
void LlamaEngine::end_all_after(const std::exception& error) noexcept {
  try {
    spdlog::error("the engine failed a step: {}", error.what());
    scheduler_.end_all({engine::Failure::Code::kInternal, std::string("the engine failed: ") + error.what(), ""});
  } catch (const std::exception&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// Behind everything else: the first requests are being computed meanwhile.
void LlamaEngine::warm_up(const std::stop_token& stop) {
  constexpr int kLowestPriority = 19;
  static_cast<void>(::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowestPriority));
  store_.warm_up(stop);
}

engine::EngineStats LlamaEngine::stats() const {
  const std::lock_guard lock(mutex_);
  engine::EngineStats stats = stats_;
  stats.failed += refused_;
  stats.too_long = too_long_;
  stats.overloaded = overloaded_;
  stats.queued = std::max(0, static_cast<std::int32_t>(active_.size()) - stats.running);
  return stats;
}

void LlamaEngine::stop(std::chrono::steady_clock::time_point deadline) {
  {
    std::unique_lock lock(mutex_);
    refusing_ = true;
    changed_.wait_until(lock, deadline, [this] { return active_.empty(); });
    cutting_off_ = true;
    changed_.notify_all();
  }
  model_.abort();
  preparation_.close();
  if (preparing_.joinable()) preparing_.join();
  if (computing_.joinable()) computing_.join();
  // What the preparing thread handed over while the context thread was ending.
  std::unordered_map<Id, SequencePtr> left;
  {
    const std::lock_guard lock(mutex_);
    left.swap(active_);
  }
  for (const auto& [id, sequence] : left) {
    sequence->sink->on_failure({engine::Failure::Code::kShuttingDown, "the server is shutting down", ""});
  }
}

}   // namespace

std::string llama_build() { return std::string("llama.cpp ") + llama_version() + "\n" + llama_print_system_info() + "\n"; }

std::unique_ptr<engine::Engine> make_llama_engine(const LlamaOptions& options, Cache& cache, const std::function<void(float)>& progress,
                                                  engine::FinishedObserver on_finished) {
  auto engine = std::make_unique<LlamaEngine>(options, cache, progress, std::move(on_finished));
  if (!engine->info().prefix_reuse && options.prefix_cache) {
    spdlog::warn("prompts are computed whole: no prefix reuse for this model ({})", engine->info().prefix_reuse_note);
  }
  return engine;
}

}   // namespace tensorcache::llama
