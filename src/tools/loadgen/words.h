// Synthetic text of English words, the same on every machine for the same seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tensorcache::loadgen {

// A stream of common English words, most of them one token in common vocabularies.
class WordSource {
 public:
  // Streams with different seeds or purposes are independent.
  WordSource(std::uint64_t seed, std::uint64_t purpose, std::uint64_t index = 0);

  // RETURNS `count` words as sentences: "The river holds ... stone. Every ...".
  [[nodiscard]] std::string text(std::size_t count);

 private:
  std::uint64_t next();
  std::uint64_t state_;
};

}   // namespace tensorcache::loadgen
