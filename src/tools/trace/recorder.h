// Records a server's requests in Mooncake's format: digests and lengths, never text.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "tensorcache/key.h"

namespace tensorcache::trace {

// Threads: add() from any.
class Recorder {
 public:
  // Appends to the file. A block's digest is keyed by a secret in `path`.key, made at first (both
  // 0600): without it a digest cannot be compared with that of a guess. Throws std::runtime_error
  // that names the file.
  explicit Recorder(const std::string& path);

  // One request: a line. Where it cannot be written it is lost, and lost() says how many were. ~0.5
  // us a block.
  void add(std::span<const Key> blocks, std::uint64_t input_tokens, std::uint64_t output_tokens);
  [[nodiscard]] std::uint64_t lost() const;
  // What a block takes in a cache, written into each line from now on, so that a simulation can
  // speak of bytes.
  void set_block_bytes(std::uint64_t bytes) { block_bytes_.store(bytes); }

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  mutable std::mutex mutex_;
  std::unique_ptr<std::FILE, Closer> file_;
  std::array<std::uint8_t, 32> secret_{};
  std::uint64_t lost_ = 0;
  std::atomic<std::uint64_t> block_bytes_{0};
};

}   // namespace tensorcache::trace
