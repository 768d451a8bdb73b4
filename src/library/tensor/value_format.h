// The format of a TensorCache value in memory and on disk: docs/format-tensor.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tensorcache/cache.h"
#include "tensorcache/key.h"
#include "tensorcache/tensor.h"

namespace tensorcache::tensor {

inline constexpr std::size_t kMaxTags = 16;
inline constexpr std::size_t kMaxParts = 65535;
inline constexpr std::size_t kMaxHeadBytes = 64 + kMaxTags * 16;   // read by decode_head()

// The first half of the SHA-256 of a tag.
struct TagId {
  std::uint64_t words[2];
  friend bool operator==(const TagId&, const TagId&) = default;
};
[[nodiscard]] TagId tag_id(std::string_view tag);

// The header of a value, before its parts.
struct ValueHead {
  std::uint64_t version = 0;
  std::uint64_t as_of = 0;   // a version: the inputs of the computation are at least this new
  std::chrono::milliseconds fresh_for{0};
  bool negative = false;
  std::vector<TagId> tags = {};
};

// Encodes a value. Borrows the parts and the structure.
class Encoder {
 public:
  // Throws std::invalid_argument for too many parts or tags, an invalid tensor (so that write()
  // does not throw), a negative value with parts, or another value without parts.
  Encoder(ValueHead head, std::span<const TensorView> parts, std::string_view structure);
  [[nodiscard]] std::size_t bytes() const { return total_; }
  // Sets the version in the bytes that write() filled. `as_of` becomes this version if it is 0 or
  // later.
  void set_version(std::uint64_t version, std::span<std::byte> written);
  // Fills `to`. REQUIRES: it has bytes() bytes.
  void write(std::span<std::byte> to) const;

 private:
  ValueHead head_;
  std::span<const TensorView> parts_;
  std::string_view structure_;
  std::vector<std::uint64_t> offsets_;
  std::size_t head_bytes_ = 0, total_ = 0;
};

// A decoded value, the owner of its bytes, and its state when it was read.
struct StoredValue {
  Handle handle;   // owner of the bytes; or `own`, for a value that was not stored
  std::shared_ptr<const std::byte[]> own;
  std::span<const std::byte> bytes;
  ValueHead head;
  std::string_view structure;
  std::vector<std::uint32_t> part_at;   // offsets of the part records
  bool stale = false;
  bool unavailable = false;   // instead of a value: it is stored but cannot be read now

  [[nodiscard]] TensorView part(std::size_t index) const;
};

// Decodes and verifies a value; nothing for invalid bytes.
[[nodiscard]] std::optional<StoredValue> decode(std::span<const std::byte> bytes);
// Decodes and verifies the header from a value's first kMaxHeadBytes.
[[nodiscard]] std::optional<ValueHead> decode_head(std::span<const std::byte> bytes);

}   // namespace tensorcache::tensor
