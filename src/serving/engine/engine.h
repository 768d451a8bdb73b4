// The engine contract: an Engine takes requests and sends the events of each response to a Sink.
// Implemented by serving/llama: a GGUF model in this process.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "serving/engine/request.h"
#include "tensorcache/key.h"

namespace tensorcache::engine {

struct TokenLogprob {
  struct Candidate {
    std::int32_t id = 0;
    std::string bytes;      // of the token; may be part of a UTF-8 character
    float logprob = 0.0f;   // natural logarithm, of the model's distribution before sampling

    friend bool operator==(const Candidate&, const Candidate&) = default;
  };
  Candidate token;
  std::vector<Candidate> top;   // most likely first

  friend bool operator==(const TokenLogprob&, const TokenLogprob&) = default;
};

// A piece of a tool call: its first piece has the id and the name, and each some of the arguments.
struct ToolCallDelta {
  std::uint32_t index = 0;   // among the calls of this response
  std::string id, name, arguments;

  friend bool operator==(const ToolCallDelta&, const ToolCallDelta&) = default;
};

// A piece of the response: whole UTF-8 characters and their tokens. The text may be empty (a token
// that completes no character yet) and never contains a stop string.
struct Delta {
  std::string text;
  std::vector<TokenLogprob> logprobs;        // one per token, if requested
  std::string reasoning{};                   // comes before `text`
  std::vector<ToolCallDelta> tool_calls{};   // come after it

  [[nodiscard]] bool empty() const { return text.empty() && logprobs.empty() && reasoning.empty() && tool_calls.empty(); }
  friend bool operator==(const Delta&, const Delta&) = default;
};

struct Usage {
  std::int32_t prompt_tokens = 0;
  std::int32_t completion_tokens = 0;
  std::int32_t cached_tokens = 0;   // prompt tokens restored from the cache

  friend bool operator==(const Usage&, const Usage&) = default;
};

// How exact a reused prefix is, compared with a cold run. Stored and sent: add, never renumber.
enum class Fidelity : std::uint8_t {
  kComputed = 0,   // nothing was reused
  kExactKv = 1,    // bit-identical to a cold run
  kKv = 2,         // the same tokens' K/V, computed in another batch shape
};

// Sent once, before the first delta, when the request has a slot.
struct Begin {
  std::int32_t prompt_tokens = 0;
  std::int32_t cached_tokens = 0;
  Fidelity fidelity = Fidelity::kComputed;
};

// Stored: add, never renumber.
enum class FinishReason : std::uint8_t { kStop = 0, kLength = 1, kToolCalls = 2 };

struct Finish {
  FinishReason reason = FinishReason::kStop;
  Usage usage;
  std::string stop_sequence;   // the one of Request::stop that ended the response; may be empty
  std::chrono::microseconds queued{0}, prefill{0}, decode{0};
};

struct Failure {
  enum class Code : std::uint8_t {
    kBadRequest,        // 400; `param` names the field
    kContextOverflow,   // 400, code "context_length_exceeded"
    kOverloaded,        // 503 with Retry-After
    kCancelled,         // the caller's own cancel; never seen by a client
    kShuttingDown,      // 503
    kInternal,          // 500
  };
  Code code = Code::kInternal;
  std::string message;
  std::string param;
};

// Receives one response: on_accepted, on_begin, any number of on_delta, then exactly one of
// on_finish and on_failure (on_failure may come at any point).
// THREADS: called on the engine's threads, one call at a time.
// REQUIRES: members do not block, and call no member of the engine but info() and answer_salt().
class Sink {
 public:
  virtual ~Sink() = default;
  // The request is valid and will not be rejected any more; it may still be queued for a slot.
  virtual void on_accepted() {}
  virtual void on_begin(const Begin& begin) = 0;
  virtual void on_delta(Delta delta) = 0;
  virtual void on_finish(const Finish& finish) = 0;
  virtual void on_failure(const Failure& failure) = 0;
};

struct EngineInfo {
  std::string model_name;                  // shown as the model's id
  std::vector<std::string> aliases;        // further names that clients may use
  std::string model_path;                  // the model file's name, without its folder
  std::string chat_template;               // as text; may be empty
  std::string bos_token, eos_token;        // their texts; may be empty
  std::int32_t slots = 0;                  // requests that run at the same time
  Key answer_fingerprint;                  // everything about model, build and settings that can change a response
  std::uint32_t source = 0;                // PutOptions::source of its entries: this model with these settings
  std::int64_t created_unix_s = 0;         // of the model file
  std::int32_t context_tokens = 0;         // per request, at most: prompt and completion
  std::int32_t total_context_tokens = 0;   // of all running requests together
  std::int32_t vocab_tokens = 0;
  std::int32_t trained_context_tokens = 0, embedding_size = 0;
  std::uint64_t parameters = 0, model_bytes = 0;   // of the model; bytes: of its tensors
  std::int32_t threads = 0;                        // for decode
  std::uint64_t block_bytes = 0;                   // of a prefix block; 0: no prefix caching
  std::int32_t block_tokens = 0;                   // of a prefix block
  bool prefix_reuse = false;
  std::string prefix_reuse_note;   // the reason if it is off

  // RETURNS true if clients may ask for the model by this name.
  [[nodiscard]] bool has_name(std::string_view name) const {
    return name == model_name || std::find(aliases.begin(), aliases.end(), name) != aliases.end();
  }
};

struct EngineStats {
  std::uint64_t requests = 0, finished = 0, cancelled = 0, failed = 0;
  std::uint64_t too_long = 0, overloaded = 0;   // rejected: prompt too long, queue full
  std::uint64_t prompt_tokens = 0, cached_tokens = 0, prefilled_tokens = 0, generated_tokens = 0;
  std::uint64_t prefix_waits = 0;   // requests that waited for another's prefill of their prefix
  std::uint64_t preemptions = 0;    // requests that left their slot for others, and went on later
  std::uint64_t blocks_saved = 0, blocks_restored = 0;
  std::uint64_t blocks_not_saved = 0;                        // no room in memory
  std::uint64_t kv_saved_bytes = 0, kv_restored_bytes = 0;   // copied out of the context, and into it
  double kv_save_seconds = 0, kv_restore_seconds = 0;        // of copying, with finding or making the cells
  double prefill_seconds = 0, decode_seconds = 0;
  std::int32_t queued = 0, running = 0;
};

// THREADS: every member may be called from any thread.
class Engine {
 public:
  using Id = std::uint64_t;
  virtual ~Engine() = default;

  [[nodiscard]] virtual const EngineInfo& info() const = 0;

  // RETURNS what a response depends on now besides info().answer_fingerprint: "", or the time as
  // printed by a chat template that prints it.
  [[nodiscard]] virtual std::string answer_salt() const { return {}; }

  // Queues a request. Never blocks; errors reach the sink, possibly before submit() returns.
  virtual Id submit(std::shared_ptr<const Request> request, std::shared_ptr<Sink> sink) = 0;

  // Cancels a request soon, queued or running; its sink gets kCancelled. Unknown ids are ignored.
  virtual void cancel(Id id) = 0;

  // Sets the maximum number of queued requests per tenant; 0: no limit per tenant. For engines
  // with a queue.
  virtual void limit_tenant(int waiting) { static_cast<void>(waiting); }

  // RETURNS the tokens of the request's prompt, or why there are none. Computes nothing. COST:
  // milliseconds for a thousand words.
  [[nodiscard]] virtual std::variant<std::vector<std::int32_t>, Failure> tokenize(const Request& request) const = 0;

  // RETURNS the prompt of a chat: its messages in the model's template.
  [[nodiscard]] virtual std::variant<std::string, Failure> prompt_text(const Request& request) const = 0;
  // The same for a text alone, which may be empty.
  [[nodiscard]] virtual std::variant<std::vector<std::int32_t>, Failure> tokenize_text(std::string_view text,
                                                                                       const TokenizeOptions& options) const = 0;
  // RETURNS the bytes of a token, which may be part of a UTF-8 character. REQUIRES: an id of the
  // vocabulary.
  [[nodiscard]] virtual std::string token_bytes(std::int32_t token) const = 0;

  [[nodiscard]] virtual EngineStats stats() const = 0;

  // Graceful shutdown: rejects new requests (kShuttingDown), lets running ones finish until
  // `deadline`, then ends them (kShuttingDown). Blocks until done.
  virtual void stop(std::chrono::steady_clock::time_point deadline) = 0;
};

}   // namespace tensorcache::engine
