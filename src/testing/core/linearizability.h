// Tests only: whether a history of reads and writes of one key is linearizable.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace tensorcache::testing {

// What one call did to a register. A value is a number that is written once; 0 is "nothing there".
struct Operation {
  enum class Type : std::uint8_t { kRead, kWrite, kRemove, kSwap } type = Type::kRead;
  std::uint64_t value = 0;            // read, or to be written
  std::uint64_t expected = 0;         // kSwap: only if this is there
  bool done = true;                   // kSwap: it was; kRemove: something was there
  std::uint64_t begin = 0, end = 0;   // of the call, on a clock that all threads share
};

// Whether the register may go from `state` by this operation; sets the state behind it.
inline bool applies(const Operation& operation, std::uint64_t* state) {
  switch (operation.type) {
    case Operation::Type::kRead:
      return *state == operation.value;
    case Operation::Type::kWrite:
      *state = operation.value;
      return true;
    case Operation::Type::kRemove:
      return (std::exchange(*state, 0) != 0) == operation.done;
    case Operation::Type::kSwap:
      if ((*state == operation.expected) != operation.done) return false;
      if (operation.done) *state = operation.value;
      return true;
  }
  return false;
}

// Searches for an order of all operations that respects real time and that one register could have
// gone through (Wing and Gong, with what was tried remembered). `threads`: the operations of each
// thread, in their order. `may_vanish`: what is there may go at any time by itself, as an evicted
// value does.
inline bool is_linearizable(const std::vector<std::vector<Operation>>& threads, bool may_vanish = false) {
  using Config = std::pair<std::vector<std::uint32_t>, std::uint64_t>;   // how many of each thread's are done, and what is there then
  std::set<Config> seen;
  std::vector<Config> open = {{std::vector<std::uint32_t>(threads.size(), 0), 0}};
  while (!open.empty()) {
    const Config config = open.back();
    open.pop_back();
    std::uint64_t first_end = UINT64_MAX;   // nothing that begins later may come first
    for (std::size_t t = 0; t < threads.size(); ++t) {
      if (config.first[t] < threads[t].size()) first_end = std::min(first_end, threads[t][config.first[t]].end);
    }
    if (first_end == UINT64_MAX) return true;
    if (may_vanish && config.second != 0 && seen.insert({config.first, 0}).second) open.push_back({config.first, 0});
    for (std::size_t t = 0; t < threads.size(); ++t) {
      if (config.first[t] == threads[t].size() || threads[t][config.first[t]].begin > first_end) continue;
      Config next = config;
      if (!applies(threads[t][next.first[t]++], &next.second)) continue;
      if (seen.insert(next).second) open.push_back(std::move(next));
    }
  }
  return false;
}

}   // namespace tensorcache::testing
