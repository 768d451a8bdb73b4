// A copy that leaves the CPU's caches alone.
#pragma once

#include <cstddef>

namespace tensorcache::llama {

// Copies like std::memcpy, with stores that bypass the caches where the CPU has them: 1.4 times as
// fast for pieces of 64 KiB of a copy that is larger than the caches, as one large memcpy is.
// REQUIRES: call finish_stream_copies() before another thread or device reads the result.
void stream_copy(std::byte* to, const std::byte* from, std::size_t bytes);
void finish_stream_copies();

}   // namespace tensorcache::llama
