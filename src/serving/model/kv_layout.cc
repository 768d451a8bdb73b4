#include "serving/model/kv_layout.h"

#include <algorithm>
#include <numeric>

namespace tensorcache::model {
namespace {

constexpr std::size_t kMaxLayers = 4096;

}   // namespace

std::size_t KvPayload::token_bytes() const {
  return std::accumulate(tensors.begin(), tensors.end(), ext_bytes, [](std::size_t sum, const KvTensor& t) { return sum + t.rows * t.cell_bytes; });
}

std::size_t KvLayout::block_bytes(std::size_t tokens) const {
  std::size_t bytes = 0;
  for (const auto& payload : payloads) bytes += tokens * payload.token_bytes();
  return bytes;
}

KvEvent KvEvent::of_value(std::span<const std::byte> value) {
  KvEvent event;
  event.bytes = value.size();
  std::copy(value.begin(), value.end(), event.value.begin());
  return event;
}

// Every member function returns false for unexpected events.
class KvPlaces::Parser {
 public:
  explicit Parser(std::span<const KvEvent> events) : events_(events) {}

  [[nodiscard]] bool parse(KvPlaces& places) {
    while (at_ < events_.size()) {
      KvPayload format;
      Payload payload;
      std::uint32_t n_stream = 0;
      if (!read(n_stream) || (!places.payloads_.empty() && n_stream != places.layout_.n_stream)) return false;
      if (!parse_streams(n_stream, format, payload)) return false;
      places.layout_.n_stream = n_stream;
      places.layout_.payloads.push_back(std::move(format));
      places.payloads_.push_back(std::move(payload));
    }
    return !places.payloads_.empty();
  }

 private:
  struct Range {   // of cells, in the order of the tensors
    std::size_t first_cell, count;
  };

  [[nodiscard]] bool is_value(std::size_t ahead, std::size_t bytes) const {
    return at_ + ahead < events_.size() && events_[at_ + ahead].tensor == nullptr && events_[at_ + ahead].bytes == bytes;
  }
  [[nodiscard]] bool is_rows(std::size_t ahead) const { return at_ + ahead < events_.size() && events_[at_ + ahead].tensor != nullptr; }
  template <typename T>
  [[nodiscard]] bool read(T& value) {
    if (!is_value(0, sizeof(T))) return false;
    value = events_[at_++].as<T>();
    return true;
  }

  [[nodiscard]] bool parse_streams(std::uint32_t n_stream, KvPayload& format, Payload& payload) {
    bool found = false;
    for (std::uint32_t stream = 0; stream < n_stream; ++stream) {
      std::uint32_t cells = 0;
      if (!read(cells)) return false;
      if (cells == 0) continue;
      if (found) return false;   // a sequence is in one stream
      found = true;
      if (!parse_records(cells, format, payload)) return false;
      if (!read(format.v_trans) || !read(format.n_layer) || format.v_trans > 1 || format.n_layer == 0 || format.n_layer > kMaxLayers) return false;
      if (!parse_tensors(format, payload) || !place_tokens(format, payload)) return false;
    }
    return found;
  }

  [[nodiscard]] bool parse_records(std::uint32_t cells, KvPayload& format, Payload& payload) {
    positions_.clear();
    for (std::uint32_t cell = 0; cell < cells; ++cell) {
      std::int32_t position = 0, sequence = 0;
      std::uint32_t sequences = 0;
      if (!read(position) || !read(sequences) || position < 0 || sequences != 1 || at_ >= events_.size()) return false;
      const std::size_t ext_bytes = is_value(0, sizeof sequence) ? 0 : events_[at_].bytes;
      if (cell == 0) format.ext_bytes = ext_bytes;
      if (ext_bytes != format.ext_bytes) return false;
      if (ext_bytes != 0) {
        if (!is_value(0, ext_bytes) || ext_bytes > events_[at_].value.size()) return false;
        payload.ext.insert(payload.ext.end(), events_[at_].value.begin(), events_[at_].value.begin() + static_cast<std::ptrdiff_t>(ext_bytes));
        ++at_;
      }
      if (!read(sequence)) return false;
      positions_.push_back(static_cast<std::size_t>(position));
    }
    return true;
  }

  [[nodiscard]] bool parse_tensors(KvPayload& format, Payload& payload) {
    ranges_.clear();
    for (std::uint32_t layer = 0; layer < format.n_layer; ++layer) {
      if (!parse_tensor(false, format, payload)) return false;
    }
    // Not every layer has V; after the last one comes the next payload or the end.
    const bool transposed = format.v_trans == 1;
    const auto another = [&] {
      if (transposed) return is_value(0, 4) && is_value(1, 4) && is_value(2, 4) && is_rows(3);
      return is_value(0, 4) && is_value(1, 8) && is_rows(2);
    };
    while (another()) {
      if (!parse_tensor(transposed, format, payload)) return false;
    }
    return true;
  }

  [[nodiscard]] bool parse_tensor(bool transposed, KvPayload& format, Payload& payload) {
    KvTensor tensor{.transposed = transposed};
    if (!read(tensor.type)) return false;
    if (transposed) {
      std::uint32_t element_bytes = 0;
      if (!read(element_bytes) || !read(tensor.rows)) return false;
      tensor.cell_bytes = element_bytes;
    } else {
      std::uint64_t row_bytes = 0;
      if (!read(row_bytes)) return false;
      tensor.cell_bytes = row_bytes;
    }
    if (tensor.cell_bytes == 0 || tensor.rows == 0 || !is_rows(0)) return false;
    if (ranges_.empty() && !learn_ranges(tensor)) return false;
    void* const id = events_[at_].tensor;
    const std::size_t first = ranges_.front().first_cell * tensor.cell_bytes;
    const std::size_t stride = tensor.rows > 1 && is_rows(ranges_.size()) ? events_[at_ + ranges_.size()].offset - first : 0;
    for (std::size_t row = 0; row < tensor.rows; ++row) {
      for (const Range& range : ranges_) {
        const std::size_t offset = row * stride + range.first_cell * tensor.cell_bytes;
        if (!is_rows(0) || events_[at_].tensor != id || events_[at_].offset != offset || events_[at_].bytes != range.count * tensor.cell_bytes) {
          return false;
        }
        ++at_;
      }
    }
    format.tensors.push_back(tensor);
    payload.tensors.push_back(id);
    payload.row_stride_bytes.push_back(stride);
    return true;
  }

  // Learns the ranges from the first tensor; those of the others in the payload are equal.
  [[nodiscard]] bool learn_ranges(const KvTensor& tensor) {
    std::size_t cells = 0;
    for (std::size_t i = at_; i < events_.size() && events_[i].tensor == events_[at_].tensor && cells < positions_.size(); ++i) {
      if (events_[i].offset % tensor.cell_bytes != 0 || events_[i].bytes % tensor.cell_bytes != 0) return false;
      ranges_.push_back({events_[i].offset / tensor.cell_bytes, events_[i].bytes / tensor.cell_bytes});
      cells += ranges_.back().count;
    }
    return cells == positions_.size();
  }

  // Assigns the cells' positions to the ranges.
  [[nodiscard]] bool place_tokens(const KvPayload& format, Payload& payload) {
    std::vector<std::size_t> cell_of;
    cell_of.reserve(positions_.size());
    for (const Range& range : ranges_) {
      for (std::size_t i = 0; i < range.count; ++i) cell_of.push_back(range.first_cell + i);
    }
    std::vector<std::size_t> order(positions_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (!std::is_sorted(positions_.begin(), positions_.end())) {
      std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return positions_[a] < positions_[b]; });
      sort_ext(order, format.ext_bytes, payload);
    }
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::size_t token = positions_[order[i]], cell = cell_of[order[i]];
      if (!payload.cells.empty()) {
        Cells& last = payload.cells.back();
        const std::size_t next_token = last.first_token + last.count;
        if (token < next_token) return false;   // duplicate
        if (token == next_token && cell == last.first_cell + last.count) {
          ++last.count;
          continue;
        }
      }
      payload.cells.push_back({token, cell, 1, i});
    }
    return true;
  }

  static void sort_ext(const std::vector<std::size_t>& order, std::size_t ext_bytes, Payload& payload) {
    if (ext_bytes == 0) return;
    std::vector<std::byte> sorted;
    sorted.reserve(payload.ext.size());
    for (const std::size_t from : order) {
      const auto begin = payload.ext.begin() + static_cast<std::ptrdiff_t>(from * ext_bytes);
      sorted.insert(sorted.end(), begin, begin + static_cast<std::ptrdiff_t>(ext_bytes));
    }
    payload.ext = std::move(sorted);
  }

  std::span<const KvEvent> events_;
  std::size_t at_ = 0;
  std::vector<std::size_t> positions_;   // of this payload's cells, in the order of their records
  std::vector<Range> ranges_;            // of this payload's cells, in the same order
};

std::optional<KvPlaces> parse_kv_events(std::span<const KvEvent> events) {
  KvPlaces places;
  if (!KvPlaces::Parser(events).parse(places)) return std::nullopt;
  return places;
}

// RETURNS the last cells that begin at or before the token.
const KvPlaces::Cells& KvPlaces::cells_of(const Payload& payload, std::size_t token) {
  const auto after = std::upper_bound(payload.cells.begin(), payload.cells.end(), token,
                                      [](std::size_t wanted, const Cells& cells) { return wanted < cells.first_token; });
  return after == payload.cells.begin() ? *after : *(after - 1);
}

bool KvPlaces::holds(std::size_t first, std::size_t count) const {
  return std::all_of(payloads_.begin(), payloads_.end(), [&](const Payload& payload) {
    for (std::size_t token = first; token < first + count;) {
      const Cells& cells = cells_of(payload, token);
      if (token < cells.first_token || token >= cells.first_token + cells.count) return false;
      token = cells.first_token + cells.count;
    }
    return true;
  });
}

std::size_t KvPlaces::end_cell() const {
  std::size_t end = 0;
  for (const Payload& payload : payloads_) {
    for (const Cells& cells : payload.cells) end = std::max(end, cells.first_cell + cells.count);
  }
  return end;
}

void KvPlaces::write_ext(std::size_t first, std::size_t count, std::span<std::byte> block) const {
  std::size_t offset = 0;
  for (std::size_t p = 0; p < payloads_.size(); ++p) {
    const KvPayload& format = layout_.payloads[p];
    for (std::size_t i = 0; i < count && format.ext_bytes != 0; ++i) {
      const Cells& cells = cells_of(payloads_[p], first + i);
      const std::size_t ordinal = cells.ordinal + first + i - cells.first_token;
      std::memcpy(block.data() + offset + i * format.ext_bytes, payloads_[p].ext.data() + ordinal * format.ext_bytes, format.ext_bytes);
    }
    offset += count * format.token_bytes();
  }
}

std::vector<KvEvent> kv_values(const KvLayout& layout, std::size_t tokens, std::span<const std::span<const std::byte>> blocks,
                               std::size_t block_tokens, std::size_t last_block_tokens) {
  std::vector<KvEvent> values;
  const auto value = [&values](auto number) { values.push_back(KvEvent::of_value(std::as_bytes(std::span(&number, 1)))); };
  std::size_t token_offset = 0;   // size of one token so far: the payload begins there, times the tokens of a block
  for (const KvPayload& payload : layout.payloads) {
    value(layout.n_stream);
    value(static_cast<std::uint32_t>(tokens));
    for (std::size_t t = 0; t < tokens; ++t) {
      value(static_cast<std::int32_t>(t));
      value(std::uint32_t{1});
      if (payload.ext_bytes != 0) {
        const std::size_t block = t / block_tokens;
        const std::size_t in_block = block + 1 == blocks.size() ? last_block_tokens : block_tokens;
        values.push_back(
            KvEvent::of_value(blocks[block].subspan(token_offset * in_block + (t % block_tokens) * payload.ext_bytes, payload.ext_bytes)));
      }
      value(std::int32_t{0});   // llama.cpp uses the sequence that it was asked for
    }
    value(payload.v_trans);
    value(payload.n_layer);
    for (const KvTensor& tensor : payload.tensors) {
      value(tensor.type);
      if (tensor.transposed) {
        value(static_cast<std::uint32_t>(tensor.cell_bytes));
        value(tensor.rows);
      } else {
        value(static_cast<std::uint64_t>(tensor.cell_bytes));
      }
    }
    for (std::uint32_t stream = 1; stream < layout.n_stream; ++stream) value(std::uint32_t{0});
    token_offset += payload.token_bytes();
  }
  return values;
}

}   // namespace tensorcache::model
