// Includes llama.cpp's internal headers, as only context_memory.cc does besides (ggml's).
#include "serving/llama/kv_transfer.h"

#include <ggml-backend.h>
#include <llama-io.h>
#include <llama-memory.h>
#include <spdlog/spdlog.h>

#include <stdexcept>
#include <vector>

#include "serving/llama/stream_copy.h"

namespace tensorcache::llama {
namespace {

// Records what llama.cpp would write, and copies nothing.
class Recorder final : public llama_io_write_i {
 public:
  void write(const void* src, size_t size) override {
    if (size > sizeof(model::KvEvent::value)) throw std::runtime_error("a value of " + std::to_string(size) + " bytes in a sequence's state");
    events_.push_back(model::KvEvent::of_value({static_cast<const std::byte*>(src), size}));
    bytes_ += size;
  }
  void write_tensor(ggml_tensor* tensor, size_t offset, size_t size) override {
    events_.push_back({.tensor = tensor, .offset = offset, .bytes = size});
    bytes_ += size;
  }
  size_t n_bytes() override { return bytes_; }
  [[nodiscard]] const std::vector<model::KvEvent>& events() const { return events_; }

 private:
  std::vector<model::KvEvent> events_;
  std::size_t bytes_ = 0;
};

// Gives llama.cpp the values that it reads, and records where it wants the rows.
class Dictation final : public llama_io_read_i {
 public:
  explicit Dictation(std::vector<model::KvEvent> values) : values_(std::move(values)) { events_.reserve(values_.size() * 2); }

  void read(void* dst, size_t size) override {
    if (next_ == values_.size() || values_[next_].bytes != size) throw std::runtime_error("llama.cpp reads another layout than it wrote");
    std::memcpy(dst, values_[next_].value.data(), size);
    events_.push_back(values_[next_++]);
    bytes_ += size;
  }
  void read_tensor(ggml_tensor* tensor, size_t offset, size_t size) override {
    events_.push_back({.tensor = tensor, .offset = offset, .bytes = size});
    bytes_ += size;
  }
  size_t n_bytes() override { return bytes_; }
  [[nodiscard]] bool at_end() const { return next_ == values_.size(); }
  [[nodiscard]] const std::vector<model::KvEvent>& events() const { return events_; }

 private:
  std::vector<model::KvEvent> values_, events_;
  std::size_t next_ = 0, bytes_ = 0;
};

// The address of the tensor's data if the CPU can copy from and to it; else null.
std::byte* host_data(const ggml_tensor* tensor) {
  const ggml_backend_buffer_t buffer = tensor->view_src != nullptr ? tensor->view_src->buffer : tensor->buffer;
  return buffer != nullptr && ggml_backend_buffer_is_host(buffer) ? static_cast<std::byte*>(tensor->data) : nullptr;
}

// Blocks of so many bytes belong to prompts whose K/V is larger than the CPU's caches.
constexpr std::size_t kStreamedBlockBytes = 1 << 20;

}   // namespace

std::optional<model::KvPlaces> locate(llama_context* context, llama_seq_id sequence) {
  llama_synchronize(context);
  Recorder recorder;
  try {
    llama_get_memory(context)->state_write(recorder, sequence, 0);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    spdlog::error("a sequence's state cannot be read: {}", error.what());
    return std::nullopt;
  }
  return model::parse_kv_events(recorder.events());
}

std::optional<model::KvPlaces> make_cells(llama_context* context, llama_seq_id sequence, const model::KvLayout& layout, std::size_t tokens,
                                          std::span<const std::span<const std::byte>> blocks, std::size_t block_tokens,
                                          std::size_t last_block_tokens) {
  llama_synchronize(context);
  llama_memory_t memory = llama_get_memory(context);
  const auto empty = [&] { llama_memory_seq_rm(memory, sequence, -1, -1); };
  empty();
  try {
    Dictation dictation(model::kv_values(layout, tokens, blocks, block_tokens, last_block_tokens));
    memory->state_read(dictation, sequence, 0);
    auto places = dictation.at_end() ? model::parse_kv_events(dictation.events()) : std::nullopt;
    if (places && places->layout() == layout) return places;
    spdlog::error("llama.cpp reads a sequence's state in another layout than it writes it");
  } catch (const std::bad_alloc&) {
    empty();
    throw;
  } catch (const std::exception& error) {
    spdlog::error("llama.cpp makes no cells for a stored prefix: {}", error.what());
  }
  empty();
  return std::nullopt;
}

bool copy_out(const model::KvPlaces& from, std::size_t first, std::size_t count, std::span<std::byte> block) {
  if (!from.holds(first, count)) return false;
  from.write_ext(first, count, block);
  const bool streamed = block.size() >= kStreamedBlockBytes;
  from.for_each_piece(first, count, count, [&](const model::KvPlaces::Piece& piece) {
    const auto* const tensor = static_cast<const ggml_tensor*>(piece.tensor);
    std::byte* const to = block.data() + piece.block_offset;
    const std::byte* const data = streamed ? host_data(tensor) : nullptr;
    if (data != nullptr) {
      stream_copy(to, data + piece.tensor_offset, piece.bytes);
    } else {
      ggml_backend_tensor_get(tensor, to, piece.tensor_offset, piece.bytes);
    }
  });
  if (streamed) finish_stream_copies();
  return true;
}

void copy_in(const model::KvPlaces& to, std::size_t first, std::size_t count, std::span<const std::byte> block, std::size_t block_tokens) {
  const bool streamed = block.size() >= kStreamedBlockBytes;
  to.for_each_piece(first, count, block_tokens, [&](const model::KvPlaces::Piece& piece) {
    auto* const tensor = static_cast<ggml_tensor*>(piece.tensor);
    const std::byte* const from = block.data() + piece.block_offset;
    std::byte* const data = streamed ? host_data(tensor) : nullptr;
    if (data != nullptr) {
      stream_copy(data + piece.tensor_offset, from, piece.bytes);
    } else {
      ggml_backend_tensor_set(tensor, from, piece.tensor_offset, piece.bytes);
    }
  });
  if (streamed) finish_stream_copies();
}

}   // namespace tensorcache::llama
