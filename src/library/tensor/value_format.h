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
inline constexpr std::size_t kMaxHeadBytes = 64 + kMaxTags * 16;   // that decode_head() looks at

// The first half of the SHA-256 of a tag.
struct TagId {
  std::uint64_t words[2];
  friend bool operator==(const TagId&, const TagId&) = default;
};
[[nodiscard]] TagId tag_id(std::string_view tag);

// What stands before the parts.
struct ValueHead {
  std::uint64_t version = 0;
  std::uint64_t as_of = 0;   // a version: what it was computed from is at least so new
  std::chrono::milliseconds fresh_for{0};
  bool negative = false;
  std::vector<TagId> tags = {};
};

// A value to be written. Borrows the parts and the structure.
class Encoder {
 public:
  // Throws std::invalid_argument: too many parts or tags, a wrong tensor (write() throws nothing
  // then), a negative value with parts or one without any.
  Encoder(ValueHead head, std::span<const TensorView> parts, std::string_view structure);
  [[nodiscard]] std::size_t bytes() const { return total_; }
  // Where nothing was said of what it was computed from, it is as of now; it is never as of later.
  // Into what write() has filled.
  void set_version(std::uint64_t version, std::span<std::byte> written);
  // Fills all of `to`, which has bytes() bytes.
  void write(std::span<std::byte> to) const;

 private:
  ValueHead head_;
  std::span<const TensorView> parts_;
  std::string_view structure_;
  std::vector<std::uint64_t> offsets_;
  std::size_t head_bytes_ = 0, total_ = 0;
};

// A value that was read; what keeps its bytes alive; and what was true of it then.
struct StoredValue {
  Handle handle;   // or, for one that did not fit,
  std::shared_ptr<const std::byte[]> own;
  std::span<const std::byte> bytes;
  ValueHead head;
  std::string_view structure;
  std::vector<std::uint32_t> part_at;   // offsets of their records
  bool stale = false;
  bool unavailable = false;   // instead of a value: there is one, and it cannot be read now

  [[nodiscard]] TensorView part(std::size_t index) const;
};

// Takes apart and checks. Nothing: the bytes are not such a value.
[[nodiscard]] std::optional<StoredValue> decode(std::span<const std::byte> bytes);
// The same for what stands before the parts, of a value's first kMaxHeadBytes.
[[nodiscard]] std::optional<ValueHead> decode_head(std::span<const std::byte> bytes);

}   // namespace tensorcache::tensor
