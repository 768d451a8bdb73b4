#include "tools/loadgen/workload.h"

#include <algorithm>

#include "tools/loadgen/words.h"

namespace tensorcache::loadgen {
namespace {

// The purpose of a text; part of its seed, so that no text is a prefix of another.
enum Purpose : std::uint64_t { kSystem = 1, kDocument, kQuestion, kPrefix, kPrompt, kShort };

std::string text(const Shape& shape, Purpose purpose, std::size_t index, std::size_t words) {
  return WordSource(shape.seed, purpose, index).text(words);
}

}   // namespace

std::size_t Workload::turns() const {
  std::size_t count = 0;
  for (const Phase& phase : phases) count += phase.turns.size();
  return count;
}

Workload conversations(const Shape& shape) {
  Workload work{"conversations", {}, {}};
  work.system.assign(shape.conversations, shape.system_words > 0 ? text(shape, kSystem, 0, shape.system_words) : "");
  for (std::size_t turn = 0; turn < shape.turns; ++turn) {
    Phase phase{"turn " + std::to_string(turn + 1), {}, shape.concurrency};
    for (std::size_t session = 0; session < shape.conversations; ++session) {
      std::string user = text(shape, kQuestion, turn * shape.conversations + session, shape.question_words);
      if (turn == 0 && shape.document_words > 0) user = text(shape, kDocument, session, shape.document_words) + "\n\n" + user;
      phase.turns.push_back({session, std::move(user), shape.out_tokens, {}});
    }
    work.phases.push_back(std::move(phase));
  }
  return work;
}

Workload burst(const Shape& shape) {
  Workload work{"burst", std::vector<std::string>(shape.clients), {}};
  const std::string prefix = text(shape, kPrefix, 0, shape.prefix_words);
  Phase phase{"burst", {}, shape.clients};
  for (std::size_t client = 0; client < shape.clients; ++client) {
    phase.turns.push_back({client, prefix + "\n\n" + text(shape, kQuestion, client, shape.question_words), shape.out_tokens, {}});
  }
  work.phases.push_back(std::move(phase));
  return work;
}

Workload repeat(const Shape& shape) {
  Workload work{"repeat", std::vector<std::string>(shape.requests), {}};
  const std::string prompt = text(shape, kPrompt, 0, shape.prompt_words);
  Phase first{"first", {{0, prompt, shape.out_tokens, {}}}, 1};
  Phase again{"again", {}, shape.concurrency};
  for (std::size_t i = 1; i < shape.requests; ++i) again.turns.push_back({i, prompt, shape.out_tokens, {}});
  work.phases = {std::move(first), std::move(again)};
  return work;
}

Workload unrelated(const Shape& shape) {
  constexpr std::size_t kSystemWords = 6, kShortWords = 12;
  Workload work{"unrelated", {}, {}};
  // Each prompt has its own system message; otherwise the chat template's default one would be a
  // shared prefix.
  for (std::size_t i = 0; i < 2 * shape.requests; ++i) work.system.push_back(text(shape, kSystem, i, kSystemWords));
  Phase prefill{"prefill", {}, shape.concurrency}, decode{"decode", {}, shape.concurrency};
  for (std::size_t i = 0; i < shape.requests; ++i) {
    prefill.turns.push_back({i, text(shape, kPrompt, i, shape.prompt_words), 1, {}});
    decode.turns.push_back({shape.requests + i, text(shape, kShort, i, kShortWords), shape.out_tokens, {}});
  }
  work.phases = {std::move(prefill), std::move(decode)};
  return work;
}

}   // namespace tensorcache::loadgen
