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

// THREADS: add() from any thread.
class Recorder {
 public:
  // Appends to the file. Digests of blocks are keyed by a secret in `path`.key, created on first
  // use (both files 0600), so that they cannot be compared with digests of guessed text. Throws
  // std::runtime_error that names the file.
  explicit Recorder(const std::string& path);

  // Writes one request as one line. A line that cannot be written is dropped and counted by lost().
  // COST: about 0.5 us per block.
  void add(std::span<const Key> blocks, std::uint64_t input_tokens, std::uint64_t output_tokens);
  [[nodiscard]] std::uint64_t lost() const;
  // Sets the size of a block, written into each line from now on for simulations in bytes.
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
