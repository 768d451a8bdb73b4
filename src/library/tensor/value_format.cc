#include "library/tensor/value_format.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include "library/tensor/tensor_size.h"

namespace tensorcache::tensor {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little endian, and so is what is written here");

constexpr std::size_t kAlign = 64;
constexpr char kMagic[4] = {'T', 'C', 'T', '1'};
constexpr std::uint32_t kNegative = 1;

struct FixedHead {
  char magic[4];
  std::uint32_t head_bytes;   // up to the first part
  std::uint64_t version, as_of, fresh_ms;
  std::uint32_t flags, tags, parts, structure_bytes;
  std::uint64_t zeros[2];
};
static_assert(sizeof(FixedHead) == 64 && sizeof(FixedHead) + kMaxTags * sizeof(TagId) == kMaxHeadBytes);

struct PartRecord {
  std::uint8_t dtype, rank, zeros[6];
  std::uint64_t offset;
};   // followed by shape and strides, `rank` numbers of 8 bytes each
static_assert(sizeof(PartRecord) == 16);

std::uint64_t aligned(std::uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

std::size_t record_bytes(std::size_t rank) { return sizeof(PartRecord) + 2 * rank * sizeof(std::int64_t); }

bool has_right_rank(const TensorView& view) { return view.rank() == 1 || (view.dtype != DType::kBytes && view.dtype != DType::kText); }

// A cursor over untrusted bytes; becomes empty if more is requested than is left.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  bool read(void* to, std::size_t size) {
    if (size > bytes_.size() - at_) return false;
    if (size > 0) std::memcpy(to, bytes_.data() + at_, size);
    at_ += size;
    return true;
  }
  void skip(std::size_t size) { at_ += size; }   // bytes that were read before
  [[nodiscard]] std::size_t at() const { return at_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

std::optional<Axes> read_axes(Reader& reader, std::size_t rank) {
  std::array<std::int64_t, kMaxRank> values{};
  if (rank > kMaxRank || !reader.read(values.data(), rank * sizeof(std::int64_t))) return std::nullopt;
  return Axes(std::span(values).first(rank));
}

// Reads the part whose record is next; nothing if the part is not dense or not within `bytes` after
// `head_bytes`.
std::optional<TensorView> read_part(Reader& reader, std::span<const std::byte> bytes, std::size_t head_bytes) {
  PartRecord record;
  if (!reader.read(&record, sizeof record)) return std::nullopt;
  const auto shape = read_axes(reader, record.rank), strides = read_axes(reader, record.rank);
  if (!shape || !strides) return std::nullopt;
  const std::optional<std::uint64_t> size = bytes_of(static_cast<DType>(record.dtype), *shape);
  if (!size || record.offset % kAlign != 0 || record.offset < head_bytes || record.offset > bytes.size()) return std::nullopt;
  if (*size > bytes.size() - record.offset) return std::nullopt;
  TensorView view{static_cast<DType>(record.dtype), bytes.data() + record.offset, *shape, *strides};
  if (!view.is_dense() || !has_right_rank(view)) return std::nullopt;
  return view;
}

}   // namespace

TagId tag_id(std::string_view tag) {
  const Key digest = Key::of(tag);
  TagId id;
  std::memcpy(&id, digest.bytes.data(), sizeof id);
  return id;
}

Encoder::Encoder(ValueHead head, std::span<const TensorView> parts, std::string_view structure)
    : head_(std::move(head)), parts_(parts), structure_(structure) {
  if (head_.tags.size() > kMaxTags) throw std::invalid_argument("tags: the maximum is " + std::to_string(kMaxTags));
  if (parts.size() > kMaxParts) throw std::invalid_argument("parts: the maximum is " + std::to_string(kMaxParts));
  if (structure.size() > (std::size_t{1} << 30)) throw std::invalid_argument("structure: too long");
  if (head_.negative != parts.empty()) throw std::invalid_argument("parts: a value has at least one");
  std::uint64_t bytes = sizeof(FixedHead) + head_.tags.size() * sizeof(TagId) + structure.size();
  for (const TensorView& part : parts) bytes += record_bytes(part.rank());
  head_bytes_ = aligned(bytes);
  total_ = head_bytes_;
  for (const TensorView& part : parts) {
    const std::optional<std::uint64_t> size = bytes_of(part.dtype, part.shape);
    if (!size || part.strides.size() != part.shape.size()) {
      throw std::invalid_argument("value: its dtype, shape and strides do not make a tensor, or too large a one");
    }
    if (part.data == nullptr && *size > 0) throw std::invalid_argument("value: its data is null, and its shape has elements");
    if (!has_right_rank(part)) throw std::invalid_argument("value: bytes and text have one axis");
    offsets_.push_back(aligned(total_));
    total_ = offsets_.back() + *size;
  }
}

void Encoder::set_version(std::uint64_t version, std::span<std::byte> written) {
  head_.version = version;
  if (head_.as_of == 0 || head_.as_of > version) head_.as_of = version;
  std::memcpy(written.data() + offsetof(FixedHead, version), &head_.version, sizeof head_.version);
  std::memcpy(written.data() + offsetof(FixedHead, as_of), &head_.as_of, sizeof head_.as_of);
}

void Encoder::write(std::span<std::byte> to) const {
  std::memset(to.data(), 0, head_bytes_);
  std::byte* at = to.data();
  const auto append = [&at](const void* data, std::size_t size) {
    if (size > 0) std::memcpy(at, data, size);
    at += size;
  };
  FixedHead fixed{};
  std::memcpy(fixed.magic, kMagic, sizeof kMagic);
  fixed.head_bytes = static_cast<std::uint32_t>(head_bytes_);
  fixed.version = head_.version;
  fixed.as_of = head_.as_of;
  fixed.fresh_ms = static_cast<std::uint64_t>(head_.fresh_for.count());
  fixed.flags = head_.negative ? kNegative : 0;
  fixed.tags = static_cast<std::uint32_t>(head_.tags.size());
  fixed.parts = static_cast<std::uint32_t>(parts_.size());
  fixed.structure_bytes = static_cast<std::uint32_t>(structure_.size());
  append(&fixed, sizeof fixed);
  append(head_.tags.data(), head_.tags.size() * sizeof(TagId));
  std::size_t end = head_bytes_;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const TensorView& part = parts_[i];
    const PartRecord record{static_cast<std::uint8_t>(part.dtype), static_cast<std::uint8_t>(part.rank()), {}, offsets_[i]};
    const Axes strides = dense_strides(part);
    append(&record, sizeof record);
    append(part.shape.data(), part.rank() * sizeof(std::int64_t));
    append(strides.data(), part.rank() * sizeof(std::int64_t));
    std::memset(to.data() + end, 0, offsets_[i] - end);
    pack(part, to.data() + offsets_[i]);
    end = offsets_[i] + part.nbytes();
  }
  append(structure_.data(), structure_.size());
}

std::optional<ValueHead> decode_head(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  FixedHead fixed;
  if (!reader.read(&fixed, sizeof fixed) || std::memcmp(fixed.magic, kMagic, sizeof kMagic) != 0) return std::nullopt;
  const bool negative = (fixed.flags & kNegative) != 0;
  if (fixed.tags > kMaxTags || fixed.parts > kMaxParts || negative != (fixed.parts == 0)) return std::nullopt;
  if (fixed.fresh_ms > static_cast<std::uint64_t>(std::chrono::milliseconds::max().count())) return std::nullopt;
  ValueHead head{fixed.version, fixed.as_of, std::chrono::milliseconds(fixed.fresh_ms), negative, std::vector<TagId>(fixed.tags)};
  if (!reader.read(head.tags.data(), fixed.tags * sizeof(TagId))) return std::nullopt;
  return head;
}

std::optional<StoredValue> decode(std::span<const std::byte> bytes) {
  FixedHead fixed;
  if (!Reader(bytes).read(&fixed, sizeof fixed)) return std::nullopt;
  if (fixed.head_bytes < sizeof fixed || fixed.head_bytes % kAlign != 0 || fixed.head_bytes > bytes.size()) return std::nullopt;
  std::optional<ValueHead> values_head = decode_head(bytes.first(fixed.head_bytes));
  if (!values_head) return std::nullopt;
  StoredValue value;
  value.bytes = bytes;
  value.head = std::move(*values_head);
  Reader head(bytes.first(fixed.head_bytes));
  head.skip(sizeof fixed + value.head.tags.size() * sizeof(TagId));
  value.part_at.reserve(fixed.parts);
  for (std::uint32_t i = 0; i < fixed.parts; ++i) {
    value.part_at.push_back(static_cast<std::uint32_t>(head.at()));
    if (!read_part(head, bytes, fixed.head_bytes)) return std::nullopt;
  }
  if (fixed.structure_bytes > fixed.head_bytes - head.at()) return std::nullopt;
  value.structure = {reinterpret_cast<const char*>(bytes.data()) + head.at(), fixed.structure_bytes};
  return value;
}

TensorView StoredValue::part(std::size_t index) const {
  Reader reader(bytes.subspan(part_at[index]));
  PartRecord record{};
  reader.read(&record, sizeof record);
  const auto shape = read_axes(reader, record.rank), strides = read_axes(reader, record.rank);
  return {static_cast<DType>(record.dtype), bytes.data() + record.offset, *shape, *strides};
}

}   // namespace tensorcache::tensor
