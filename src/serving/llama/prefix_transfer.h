// Transfers that are under way between a sequence's cells and the cache: they advance in slices, between the steps of other sequences.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "serving/llama/stored_prefix.h"
#include "serving/model/kv_layout.h"
#include "tensorcache/key.h"

namespace tensorcache::llama {

using TransferClock = std::chrono::steady_clock;

// A part of a sequence, to be stored as one block.
struct PrefixPiece {
  Key key;
  std::optional<Key> parent;
  std::size_t first_token, tokens;
};

// Made by PrefixStore::begin_save, advanced by PrefixStore::advance. The sequence may go on computing meanwhile.
struct PrefixSave {
  std::vector<PrefixPiece> pieces;
  std::size_t next = 0;      // the first piece that is not stored yet
  std::uint64_t owner = 0;   // PutOptions::owner
  model::KvPlaces places;
  std::vector<Key> stored;   // the leading run of the sequence's blocks that is in memory, as far as known

  [[nodiscard]] std::size_t end_token() const { return pieces.empty() ? 0 : pieces.back().first_token + pieces.back().tokens; }
};

// Made by PrefixStore::begin_restore, advanced by PrefixStore::advance. Until it is complete the sequence must not be computed, and
// nothing of it be stored.
struct PrefixRestore {
  StoredPrefix prefix;
  std::vector<std::span<const std::byte>> blocks;   // of the prefix
  std::size_t tokens = 0;                           // to restore; fewer than the prefix has, perhaps
  std::size_t done = 0;                             // tokens that are in place
  model::KvPlaces places;
};

}   // namespace tensorcache::llama
