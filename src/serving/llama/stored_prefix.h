// The stored beginning of a prompt: matched once, and pinned from preparation to restore.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "tensorcache/handle.h"

namespace tensorcache::llama {

// Made by PrefixStore::find, consumed by PrefixStore::restore. Belongs to one thread at a time.
struct StoredPrefix {
  PrefixMatch pinned;            // full blocks, then perhaps a partial one
  std::size_t blocks = 0;        // the full ones
  std::size_t tokens = 0;        // of the prompt, that the blocks hold
  bool end_known = false;        // a partial block was looked up too
  std::uint64_t as_of = 0;       // PrefixStore::changes() before the look-up; 0: not looked up yet
  std::shared_ptr<void> share;   // of the bytes that waiting requests may pin; given back at the end

  [[nodiscard]] bool has_partial() const { return pinned.size() > blocks; }
};

}   // namespace tensorcache::llama
