// Tests only: keys by number, and values that tell whose they are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "tensorcache/key.h"

namespace tensorcache::testing {

inline Key key_of(std::uint64_t number) { return KeyBuilder("test/1").field("n", number).build(); }

// A value that tells whose it is, all along.
inline std::string value_of(std::uint64_t number, std::size_t size) {
  std::string value(size, '\0');
  std::uint64_t state = number * 0x9E3779B97F4A7C15u + 1;
  for (std::size_t i = 0; i < size; i += sizeof state) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(value.data() + i, &state, std::min(sizeof state, size - i));
  }
  return value;
}

}   // namespace tensorcache::testing
