// Tests only: an engine on a tiny model, asked one thing or many.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "serving/llama/llama_engine.h"
#include "testing/llama/tiny_models.h"
#include "testing/core/eventually.h"

namespace tensorcache::testing {

using Tokens = std::vector<std::int32_t>;

// Records one answer, and fails the test if the engine breaks the sink's contract.
class RecordingSink final : public engine::Sink {
 public:
  // `beside`: another answer, whose deltas are counted at this one's begin and end, on the engine's thread.
  explicit RecordingSink(std::shared_ptr<RecordingSink> beside = nullptr) : beside_(std::move(beside)) {}

  void on_begin(const engine::Begin& begin) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(begun_) << "on_begin twice";
    EXPECT_FALSE(ended()) << "on_begin after the end";
    begun_ = true;
    begin_ = begin;
    if (beside_) beside_at_begin_ = beside_->deltas();
    changed_.notify_all();
  }
  void on_delta(engine::Delta delta) override {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(begun_ && !ended()) << "on_delta outside an answer";
    text_ += delta.text;
    for (const engine::ToolCallDelta& piece : delta.tool_calls) {
      if (piece.index >= calls_.size()) calls_.resize(piece.index + 1);
      calls_[piece.index].id += piece.id;
      calls_[piece.index].name += piece.name;
      calls_[piece.index].arguments += piece.arguments;
    }
    for (auto& logprob : delta.logprobs) logprobs_.push_back(std::move(logprob));
    ++deltas_;
    changed_.notify_all();
  }
  void on_finish(const engine::Finish& finish) override {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(begun_ && !ended()) << "on_finish outside an answer";
    finish_ = finish;
    if (beside_) beside_at_end_ = beside_->deltas();
    changed_.notify_all();
  }
  void on_failure(const engine::Failure& failure) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(ended()) << "two ends";
    failure_ = failure;
    changed_.notify_all();
  }

  void wait_begun() {
    wait([this] { return begun_ || ended(); });
  }
  void wait_deltas(int count) {
    wait([this, count] { return deltas_ >= count || ended(); });
  }
  RecordingSink& wait_end() {
    wait([this] { return ended(); });
    return *this;
  }
  [[nodiscard]] int deltas() {
    const std::lock_guard lock(mutex_);
    return deltas_;
  }
  // What follows: after wait_end().
  [[nodiscard]] int beside_at_begin() const { return beside_at_begin_; }
  [[nodiscard]] int beside_at_end() const { return beside_at_end_; }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] const std::vector<engine::ToolCall>& calls() const { return calls_; }
  [[nodiscard]] const std::vector<engine::TokenLogprob>& logprobs() const { return logprobs_; }
  [[nodiscard]] const std::optional<engine::Finish>& finish() const { return finish_; }
  [[nodiscard]] const std::optional<engine::Failure>& failure() const { return failure_; }
  [[nodiscard]] const engine::Begin& begin() const { return begin_; }
  [[nodiscard]] int cached() const { return finish_ ? finish_->usage.cached_tokens : -1; }
  [[nodiscard]] Tokens tokens() const {
    Tokens tokens;
    for (const auto& logprob : logprobs_) tokens.push_back(logprob.token.id);
    return tokens;
  }

 private:
  [[nodiscard]] bool ended() const { return finish_ || failure_; }
  template <typename Condition>
  void wait(Condition condition) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), condition)) << "the engine hangs";
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool begun_ = false;
  int deltas_ = 0;
  const std::shared_ptr<RecordingSink> beside_;
  int beside_at_begin_ = 0, beside_at_end_ = 0;
  engine::Begin begin_;
  std::string text_;
  std::vector<engine::ToolCall> calls_;
  std::vector<engine::TokenLogprob> logprobs_;
  std::optional<engine::Finish> finish_;
  std::optional<engine::Failure> failure_;
};

using SinkPtr = std::shared_ptr<RecordingSink>;

class TestEngine {
 public:
  explicit TestEngine(TinyModel kind, const std::function<void(llama::LlamaOptions&)>& change = {}, std::uint64_t cache_bytes = 64u << 20,
                      std::optional<DiskOptions> disk = std::nullopt)
      : cache_({.capacity_bytes = cache_bytes, .disk = std::move(disk)}) {
    llama::LlamaOptions options;
    options.model_path = make_tiny_model(kind);
    options.parallel = 4;
    options.ctx_size = 4 * 2048;
    options.threads = 1;
    options.batch_size = 256;
    if (change) change(options);
    engine_ = llama::make_llama_engine(options, cache_);
  }

  static engine::Request request(Tokens prompt, int max_tokens) {
    engine::Request request;
    request.kind = engine::Request::Kind::kCompletion;
    request.prompt_tokens = std::move(prompt);
    request.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    request.sampling.logit_bias = {{2, -100.0f}};   // no end of text: answers have the length that was asked
    request.logprobs = true;
    return request;
  }
  SinkPtr submit(engine::Request request, engine::Engine::Id* id = nullptr, SinkPtr beside = nullptr) {
    auto sink = std::make_shared<RecordingSink>(std::move(beside));
    const engine::Engine::Id submitted = engine_->submit(std::make_shared<engine::Request>(std::move(request)), sink);
    if (id != nullptr) *id = submitted;
    return sink;
  }
  SinkPtr ask(engine::Request request) {
    auto sink = submit(std::move(request));
    sink->wait_end();
    settle();
    return sink;
  }
  SinkPtr ask(Tokens prompt, int max_tokens) { return ask(request(std::move(prompt), max_tokens)); }

  // An answer's last event comes a moment before its blocks are stored.
  void settle() {
    const auto is_idle = [&] { return engine_->stats().running + engine_->stats().queued == 0; };
    ASSERT_TRUE(eventually(is_idle)) << "the engine does not become idle";
  }
  engine::Engine& engine() { return *engine_; }
  Cache& cache() { return cache_; }

 private:
  Cache cache_;
  std::unique_ptr<engine::Engine> engine_;
};

inline Tokens random_tokens(unsigned seed, std::size_t count) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<std::int32_t> any(3, kTinyVocabTokens - 1);
  Tokens tokens(count);
  for (auto& token : tokens) token = any(random);
  return tokens;
}

inline Tokens joined(Tokens left, const Tokens& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

}   // namespace tensorcache::testing
