#include "serving/model/kv_format.h"

#include <cstring>
#include <numeric>

namespace tensorcache::model {
namespace {

constexpr std::size_t kHeaderBytes = 8;   // magic, sequence
constexpr std::size_t kMaxLayers = 4096;

// Reads within bounds; after a failure every read gives 0 and ok() is false.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> data, std::size_t offset = 0) : data_(data), offset_(offset) {}

  template <typename T>
  T read() {
    T value{};
    if (!ok_ || data_.size() - offset_ < sizeof(T)) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, data_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }
  void skip(std::size_t count, std::size_t bytes_each) {
    if (bytes_each != 0 && count > (data_.size() - offset_) / bytes_each) ok_ = false;
    if (ok_) offset_ += count * bytes_each;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::size_t offset() const { return offset_; }
  [[nodiscard]] bool at_end() const { return ok_ && offset_ == data_.size(); }

 private:
  std::span<const std::byte> data_;
  std::size_t offset_;
  bool ok_ = true;
};

class Writer {
 public:
  explicit Writer(std::span<std::byte> out) : out_(out) {}
  template <typename T>
  void write(T value) {
    std::memcpy(out_.data() + offset_, &value, sizeof value);
    offset_ += sizeof value;
  }
  void copy(const std::byte* from, std::size_t bytes) {
    std::memcpy(out_.data() + offset_, from, bytes);
    offset_ += bytes;
  }
  [[nodiscard]] std::size_t offset() const { return offset_; }

 private:
  std::span<std::byte> out_;
  std::size_t offset_ = 0;
};

KvTensor read_tensor(Reader& reader, bool transposed) {
  KvTensor tensor{.type = reader.read<std::int32_t>(), .rows = 1, .cell_bytes = 0, .transposed = transposed};
  if (transposed) {
    tensor.cell_bytes = reader.read<std::uint32_t>();
    tensor.rows = reader.read<std::uint32_t>();
  } else {
    tensor.cell_bytes = reader.read<std::uint64_t>();
  }
  return tensor;
}

void write_tensor(Writer& writer, const KvTensor& tensor) {
  writer.write<std::int32_t>(tensor.type);
  if (tensor.transposed) {
    writer.write<std::uint32_t>(static_cast<std::uint32_t>(tensor.cell_bytes));
    writer.write<std::uint32_t>(tensor.rows);
  } else {
    writer.write<std::uint64_t>(tensor.cell_bytes);
  }
}

constexpr std::size_t kTensorHeaderBytes = 12;   // both kinds

// One payload at the reader. `v_layers`: how many layers have V, which the format does not say.
bool read_payload(Reader& reader, std::size_t ext_bytes, bool with_v, std::uint32_t* n_stream, KvPayloadFormat* format, KvPayloadView* view) {
  *n_stream = reader.read<std::uint32_t>();
  bool found = false;
  for (std::uint32_t stream = 0; stream < *n_stream && reader.ok(); ++stream) {
    const auto cells = reader.read<std::uint32_t>();
    if (cells == 0) continue;
    if (found) return false;   // a sequence lives in one stream
    found = true;
    view->meta_offset = reader.offset();
    for (std::uint32_t cell = 0; cell < cells && reader.ok(); ++cell) {
      view->positions.push_back(reader.read<std::int32_t>());
      if (reader.read<std::uint32_t>() != 1) return false;
      reader.skip(1, ext_bytes);
      reader.read<std::int32_t>();
    }
    format->ext_bytes = ext_bytes;
    format->v_trans = reader.read<std::uint32_t>();
    format->n_layer = reader.read<std::uint32_t>();
    if (format->v_trans > 1 || format->n_layer > kMaxLayers) return false;
    const std::uint32_t tensors = with_v ? 2 * format->n_layer : format->n_layer;
    for (std::uint32_t i = 0; i < tensors && reader.ok(); ++i) {
      const KvTensor tensor = read_tensor(reader, i >= format->n_layer && format->v_trans == 1);
      view->tensor_offsets.push_back(reader.offset());
      reader.skip(static_cast<std::size_t>(tensor.rows) * cells, tensor.cell_bytes);
      format->tensors.push_back(tensor);
    }
  }
  return reader.ok() && found;
}

}   // namespace

std::size_t KvPayloadFormat::token_bytes() const {
  return std::accumulate(tensors.begin(), tensors.end(), ext_bytes, [](std::size_t sum, const KvTensor& t) { return sum + t.rows * t.cell_bytes; });
}

std::optional<KvFormat> KvFormat::learn(std::span<const std::byte> state) {
  for (const bool with_v : {true, false}) {   // latent-attention models keep no V
    for (const std::size_t ext_bytes : {0, 4, 8, 12, 16}) {
      Reader reader(state);
      KvFormat format;
      format.magic_ = reader.read<std::uint32_t>();
      reader.read<std::int32_t>();
      bool good = true;
      while (good && !reader.at_end() && format.payloads_.size() < 2) {
        KvPayloadFormat payload;
        KvPayloadView ignored;
        std::uint32_t n_stream = 0;
        good = read_payload(reader, ext_bytes, with_v, &n_stream, &payload, &ignored) && (format.payloads_.empty() || n_stream == format.n_stream_);
        format.n_stream_ = n_stream;
        format.payloads_.push_back(std::move(payload));
      }
      if (good && reader.at_end() && !format.payloads_.empty()) return format;
    }
  }
  return std::nullopt;
}

std::optional<std::vector<KvPayloadView>> KvFormat::view(std::span<const std::byte> state) const {
  Reader reader(state);
  if (reader.read<std::uint32_t>() != magic_) return std::nullopt;
  reader.read<std::int32_t>();
  std::vector<KvPayloadView> views(payloads_.size());
  for (std::size_t i = 0; i < payloads_.size(); ++i) {
    KvPayloadFormat found;
    std::uint32_t n_stream = 0;
    const bool with_v = payloads_[i].tensors.size() > payloads_[i].n_layer;
    if (!read_payload(reader, payloads_[i].ext_bytes, with_v, &n_stream, &found, &views[i]) || n_stream != n_stream_ || found != payloads_[i]) {
      return std::nullopt;
    }
  }
  if (!reader.at_end()) return std::nullopt;
  return views;
}

std::size_t KvFormat::block_bytes(std::size_t tokens) const {
  std::size_t bytes = 0;
  for (const auto& payload : payloads_) bytes += tokens * payload.token_bytes();
  return bytes;
}

bool KvFormat::cut(std::span<const std::byte> state, const std::vector<KvPayloadView>& views, std::int32_t first_position, std::size_t tokens,
                   std::span<std::byte> block) const {
  if (block.size() != block_bytes(tokens) || views.size() != payloads_.size()) return false;
  Writer writer(block);
  for (std::size_t i = 0; i < payloads_.size(); ++i) {
    const KvPayloadFormat& payload = payloads_[i];
    const auto& positions = views[i].positions;
    const std::size_t cells = positions.size();
    // Cells are in order of position here (one stream for each sequence, written front to back), so
    // the first is a guess away.
    if (cells == 0 || first_position < positions.front()) return false;
    const auto first = static_cast<std::size_t>(std::int64_t{first_position} - positions.front());   // a damaged state may say anything
    if (first > cells || cells - first < tokens) return false;
    for (std::size_t t = 0; t < tokens; ++t) {
      if (positions[first + t] != std::int64_t{first_position} + static_cast<std::int64_t>(t)) return false;
    }
    const std::size_t record = 12 + payload.ext_bytes;
    for (std::size_t t = 0; t < tokens && payload.ext_bytes > 0; ++t) {
      writer.copy(state.data() + views[i].meta_offset + (first + t) * record + 8, payload.ext_bytes);
    }
    for (std::size_t n = 0; n < payload.tensors.size(); ++n) {
      const KvTensor& tensor = payload.tensors[n];
      for (std::size_t row = 0; row < tensor.rows; ++row) {
        writer.copy(state.data() + views[i].tensor_offsets[n] + (row * cells + first) * tensor.cell_bytes, tokens * tensor.cell_bytes);
      }
    }
  }
  return true;
}

std::size_t KvFormat::state_bytes(std::size_t tokens) const {
  std::size_t bytes = kHeaderBytes;
  for (const auto& payload : payloads_) {
    bytes += 4 + 4 * n_stream_ + tokens * 12 + 8 + payload.tensors.size() * kTensorHeaderBytes;
  }
  return bytes + block_bytes(tokens);
}

bool KvFormat::join(std::span<const std::span<const std::byte>> blocks, std::size_t block_tokens, std::size_t tokens, std::int32_t sequence,
                    std::span<std::byte> state) const {
  if (tokens == 0 || blocks.size() != (tokens + block_tokens - 1) / block_tokens || state.size() != state_bytes(tokens)) return false;
  const std::span<const std::byte> last = blocks.back();
  const auto whole = blocks.first(blocks.size() - 1);
  const std::size_t last_tokens = tokens - whole.size() * block_tokens;
  if (last.size() != block_bytes(last_tokens)) return false;
  for (const auto& block : whole) {
    if (block.size() != block_bytes(block_tokens)) return false;
  }
  Writer writer(state);
  writer.write<std::uint32_t>(magic_);
  writer.write<std::int32_t>(sequence);
  std::size_t token_offset = 0;   // what one token takes of this payload, then of this tensor, begins there, times a block's tokens
  for (const KvPayloadFormat& payload : payloads_) {
    writer.write<std::uint32_t>(n_stream_);
    writer.write<std::uint32_t>(static_cast<std::uint32_t>(tokens));
    for (std::size_t t = 0; t < tokens; ++t) {
      const std::size_t in_block = token_offset * (t / block_tokens < whole.size() ? block_tokens : last_tokens);
      writer.write<std::int32_t>(static_cast<std::int32_t>(t));
      writer.write<std::uint32_t>(1);
      writer.copy(blocks[t / block_tokens].data() + in_block + (t % block_tokens) * payload.ext_bytes, payload.ext_bytes);
      writer.write<std::int32_t>(sequence);
    }
    token_offset += payload.ext_bytes;
    writer.write<std::uint32_t>(payload.v_trans);
    writer.write<std::uint32_t>(payload.n_layer);
    for (const KvTensor& tensor : payload.tensors) {
      write_tensor(writer, tensor);
      for (std::size_t row = 0; row < tensor.rows; ++row, token_offset += tensor.cell_bytes) {
        for (const auto& block : whole) writer.copy(block.data() + token_offset * block_tokens, block_tokens * tensor.cell_bytes);
        writer.copy(last.data() + token_offset * last_tokens, last_tokens * tensor.cell_bytes);
      }
    }
    for (std::uint32_t stream = 1; stream < n_stream_; ++stream) writer.write<std::uint32_t>(0);
  }
  return writer.offset() == state.size();
}

}   // namespace tensorcache::model
