#include "testing/engine/fake_engine.h"

#include <utility>

namespace tensorcache::testing {
namespace {
constexpr std::chrono::seconds kPatience{5};
}

void FakeEngine::Job::accept() const { sink->on_accepted(); }

void FakeEngine::Job::begin(std::int32_t prompt_tokens, std::int32_t cached_tokens, engine::Fidelity fidelity) const {
  sink->on_begin({prompt_tokens, cached_tokens, fidelity});
}

void FakeEngine::Job::say(std::string text) const {
  engine::Delta delta;
  if (request->logprobs) {
    engine::TokenLogprob token{{static_cast<std::int32_t>(text.size()), text, -0.25f}, {}};
    for (int i = 0; i < request->top_logprobs; ++i) token.top.push_back({i, "alt" + std::to_string(i), -0.5f - static_cast<float>(i)});
    delta.logprobs.push_back(std::move(token));
  }
  delta.text = std::move(text);
  sink->on_delta(std::move(delta));
}

void FakeEngine::Job::finish(engine::FinishReason reason, std::int32_t prompt_tokens, std::int32_t completion_tokens) const {
  sink->on_finish({reason, {prompt_tokens, completion_tokens, 0}, {}, {}, {}});
}

void FakeEngine::Job::fail(engine::Failure::Code code, std::string message, std::string param) const {
  sink->on_failure({code, std::move(message), std::move(param)});
}

FakeEngine::FakeEngine(Script script) : script_(std::move(script)) {
  info_value.model_name = "fake-model";
  info_value.answer_fingerprint = Key::of("fake");
  info_value.created_unix_s = 1'700'000'000;
  info_value.context_tokens = 8192;
  info_value.vocab_tokens = 1000;
}

FakeEngine::~FakeEngine() {
  for (std::thread& thread : threads_) thread.join();
}

FakeEngine::Script FakeEngine::say(std::vector<std::string> words) {
  return [words = std::move(words)](const Job& job) {
    job.begin();
    for (const std::string& word : words) job.say(word);
    job.finish(engine::FinishReason::kStop, 7, static_cast<std::int32_t>(words.size()));
  };
}

FakeEngine::Job FakeEngine::job(std::size_t index) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, kPatience, [&] { return jobs_.size() > index; })) return {};
  return jobs_[index];
}

std::size_t FakeEngine::submitted() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size();
}

std::size_t FakeEngine::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_.size();
}

bool FakeEngine::wait_cancelled(std::size_t count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return cancelled_.size() >= count; });
}

engine::Engine::Id FakeEngine::submit(std::shared_ptr<const engine::Request> request, std::shared_ptr<engine::Sink> sink) {
  Job job{0, std::move(request), std::move(sink)};
  {
    const std::lock_guard lock(mutex_);
    job.id = jobs_.size() + 1;
    jobs_.push_back(job);
  }
  changed_.notify_all();
  if (script_) script_(job);
  return job.id;
}

void FakeEngine::cancel(Id id) {
  const std::lock_guard lock(mutex_);
  cancelled_.push_back(id);
  threads_.emplace_back([job = jobs_.at(id - 1)] { job.fail(engine::Failure::Code::kCancelled); });
  changed_.notify_all();
}

engine::EngineStats FakeEngine::stats() const {
  engine::EngineStats stats;
  const std::lock_guard lock(mutex_);
  stats.requests = jobs_.size();
  stats.cancelled = cancelled_.size();
  return stats;
}

}   // namespace tensorcache::testing
