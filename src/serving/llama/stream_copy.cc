#include "serving/llama/stream_copy.h"

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tensorcache::llama {

#if defined(__SSE2__)

void stream_copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  constexpr std::size_t kStep = 64;
  const std::size_t head = (kStep - reinterpret_cast<std::uintptr_t>(to) % kStep) % kStep;
  if (bytes < 2 * kStep) {
    std::memcpy(to, from, bytes);
    return;
  }
  std::memcpy(to, from, head);
  std::size_t at = head;
  for (; at + kStep <= bytes; at += kStep) {
    for (std::size_t i = 0; i < kStep; i += sizeof(__m128i)) {
      const __m128i piece = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at + i));
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + at + i), piece);
    }
  }
  std::memcpy(to + at, from + at, bytes - at);
}

void finish_stream_copies() { _mm_sfence(); }

#else

void stream_copy(std::byte* to, const std::byte* from, std::size_t bytes) { std::memcpy(to, from, bytes); }

void finish_stream_copies() {}

#endif

}   // namespace tensorcache::llama
