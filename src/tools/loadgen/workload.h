// Workloads: requests in phases, generated from parameters or read from a trace.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tensorcache::loadgen {

// One request: `user` is said in conversation `session`, after all that was said and answered there before.
struct Turn {
  std::size_t session = 0;
  std::string user;
  int max_tokens = 16;
  std::chrono::milliseconds start_after{0};   // since the phase began
};

// Requests that are measured together. A phase begins when the one before it has ended; its turns start in order, at most `concurrency`
// at a time, none before its start_after. No two turns of a phase are of one session.
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

// Texts are a function of `seed` and the other numbers; words are about one token each.
struct Shape {
  std::uint64_t seed = 1;
  std::size_t conversations = 24, turns = 3;
  std::size_t system_words = 400, document_words = 300, question_words = 36;
  std::size_t clients = 8, prefix_words = 760;
  std::size_t requests = 20, prompt_words = 400;
  std::size_t concurrency = 1;
  int out_tokens = 16;
};

// `conversations` sessions in rotation: a phase for each turn. The first turn brings a document; all share a system prompt.
[[nodiscard]] Workload conversations(const Shape& shape);
// `clients` at once over one prefix of `prefix_words` that nobody has asked for yet, each with a question of its own. One phase.
[[nodiscard]] Workload burst(const Shape& shape);
// One request, phase "first", then the same again `requests` - 1 times, phase "again".
[[nodiscard]] Workload repeat(const Shape& shape);
// Prompts with nothing in common: phase "prefill" of long prompts and one token of answer, phase "decode" of short prompts and
// `out_tokens` of answer; `requests` each.
[[nodiscard]] Workload unrelated(const Shape& shape);

}   // namespace tensorcache::loadgen
