// An engine for tests: plays what it is told, when it is told.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "serving/engine/engine.h"

namespace tensorcache::testing {

class FakeEngine final : public engine::Engine {
 public:
  // One submitted request. The test calls these from any one thread at a time.
  struct Job {
    Id id = 0;
    std::shared_ptr<const engine::Request> request;
    std::shared_ptr<engine::Sink> sink;

    void accept() const;
    void begin(std::int32_t prompt_tokens = 7, std::int32_t cached_tokens = 0, engine::Fidelity fidelity = engine::Fidelity::kComputed) const;
    void say(std::string text) const;   // one token; with logprobs if the request asked for them
    void finish(engine::FinishReason reason = engine::FinishReason::kStop, std::int32_t prompt_tokens = 7, std::int32_t completion_tokens = 2) const;
    void fail(engine::Failure::Code code, std::string message = "told to fail", std::string param = "") const;
  };
  // Runs inside submit(). Without one, jobs wait for the test to take them.
  using Script = std::function<void(const Job&)>;

  explicit FakeEngine(Script script = {});
  ~FakeEngine() override;

  // begin, the words, finish.
  static Script say(std::vector<std::string> words);

  // The n-th job ever submitted, waiting for it; a Job with no request after five seconds.
  [[nodiscard]] Job job(std::size_t index);
  [[nodiscard]] std::size_t submitted() const;
  [[nodiscard]] std::size_t cancelled() const;
  [[nodiscard]] bool wait_cancelled(std::size_t count) const;   // false after five seconds

  engine::EngineInfo info_value;
  std::string salt;
  std::function<void()> when_asked;   // called by info() and answer_salt()

  [[nodiscard]] const engine::EngineInfo& info() const override {
    if (when_asked) when_asked();
    return info_value;
  }
  [[nodiscard]] std::string answer_salt() const override {
    if (when_asked) when_asked();
    return salt;
  }
  Id submit(std::shared_ptr<const engine::Request> request, std::shared_ptr<engine::Sink> sink) override;
  // The sink gets its kCancelled from another thread, as from a real engine.
  void cancel(Id id) override;
  // A token for each message, and one.
  [[nodiscard]] std::variant<std::vector<std::int32_t>, engine::Failure> tokenize(const engine::Request& request) const override {
    return std::vector<std::int32_t>(request.messages.size() + 1);
  }
  // Each message in a line.
  [[nodiscard]] std::variant<std::string, engine::Failure> prompt_text(const engine::Request& request) const override {
    std::string text;
    for (const engine::Message& message : request.messages) text += message.role + ": " + message.content + "\n";
    return text;
  }
  // A token for each byte, which is its number; 1 before the first.
  [[nodiscard]] std::variant<std::vector<std::int32_t>, engine::Failure> tokenize_text(std::string_view text,
                                                                                       const engine::TokenizeOptions& options) const override {
    std::vector<std::int32_t> tokens;
    if (options.add_special) tokens.push_back(1);
    for (const char c : text) tokens.push_back(static_cast<std::uint8_t>(c));
    return tokens;
  }
  [[nodiscard]] std::string token_bytes(std::int32_t token) const override { return std::string(1, static_cast<char>(token)); }
  [[nodiscard]] engine::EngineStats stats() const override;
  void stop(std::chrono::steady_clock::time_point) override {}

 private:
  Script script_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Job> jobs_;
  std::vector<Id> cancelled_;
  std::vector<std::thread> threads_;
};

}   // namespace tensorcache::testing
