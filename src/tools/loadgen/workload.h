// Workloads: requests in phases, generated from parameters or read from a trace.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tensorcache::loadgen {

// One request: `user` is sent in conversation `session`, after its earlier messages and replies.
struct Turn {
  std::size_t session = 0;
  std::string user;
  int max_tokens = 16;
  std::chrono::milliseconds start_after{0};   // since the start of the phase
};

// Requests that are measured together. A phase starts when the one before it ended. Its turns start
// in order, at most `concurrency` at a time, each not before its start_after. No two turns of a
// phase belong to the same session.
struct Phase {
  std::string name;
  std::vector<Turn> turns;
  std::size_t concurrency = 1;
};

struct Workload {
  std::string name;
  std::vector<std::string> system;   // by session: its system prompt, or ""
  std::vector<Phase> phases;

  [[nodiscard]] std::size_t turns() const;
};

// Texts are a function of `seed` and the other numbers; a word is about one token.
struct Shape {
  std::uint64_t seed = 1;
  std::size_t conversations = 24, turns = 3;
  std::size_t system_words = 400, document_words = 300, question_words = 36;
  std::size_t clients = 8, prefix_words = 760;
  std::size_t requests = 20, prompt_words = 400;
  std::size_t concurrency = 1;
  int out_tokens = 16;
};

// `conversations` sessions in turn, one phase per turn. The first turn contains a document; all
// share a system prompt.
[[nodiscard]] Workload conversations(const Shape& shape);
// `clients` concurrent requests with a common new prefix of `prefix_words`, each with its own
// question. One phase.
[[nodiscard]] Workload burst(const Shape& shape);
// One request in phase "first", then the same `requests` - 1 times in phase "again".
[[nodiscard]] Workload repeat(const Shape& shape);
// Prompts without a common prefix: phase "prefill" has long prompts and completions of one token,
// phase "decode" short prompts and completions of `out_tokens`; `requests` each.
[[nodiscard]] Workload unrelated(const Shape& shape);

}   // namespace tensorcache::loadgen
