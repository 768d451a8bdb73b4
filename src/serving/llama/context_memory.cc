#include "serving/llama/context_memory.h"

#include <ggml-backend-impl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace tensorcache::llama {
namespace {

constexpr std::size_t kSmallBufferBytes = 1 << 20;
const auto kPage = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));

std::mutex hook_mutex;
decltype(ggml_backend_buffer_type_i::alloc_buffer) ggml_alloc = nullptr;   // with hook_mutex held

void unmap(ggml_backend_buffer_t buffer) { ::munmap(buffer->context, buffer->size); }

void clear(ggml_backend_buffer_t buffer, std::uint8_t value) {
  if (value != 0 || ::madvise(buffer->context, buffer->size, MADV_DONTNEED) != 0) std::memset(buffer->context, value, buffer->size);
}

// As ggml's own, but for the memory's origin.
ggml_backend_buffer_t alloc_untouched(ggml_backend_buffer_type_t type, std::size_t size) {
  if (size < kSmallBufferBytes) return ggml_alloc(type, size);
  ggml_backend_buffer_t sample = ggml_alloc(type, 1);
  if (sample == nullptr) return nullptr;
  ggml_backend_buffer_i functions = sample->iface;
  ggml_backend_buffer_free(sample);
  void* const pages = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  functions.free_buffer = unmap;
  functions.clear = clear;
  return ggml_backend_buffer_init(type, functions, pages, size);
}

}   // namespace

UntouchedBuffers::UntouchedBuffers() : lock_(hook_mutex) {
  ggml_backend_buffer_type_i& functions = ggml_backend_cpu_buffer_type()->iface;
  ggml_alloc = functions.alloc_buffer;
  functions.alloc_buffer = alloc_untouched;
}

UntouchedBuffers::~UntouchedBuffers() { ggml_backend_cpu_buffer_type()->iface.alloc_buffer = ggml_alloc; }

std::optional<SequencePages> SequencePages::of(const model::KvPlaces& places, std::size_t sequences) {
  SequencePages pages;
  bool apart = true;
  places.for_each_tensor([&](void* tensor, const model::KvTensor& format) {
    const auto* const view = static_cast<const ggml_tensor*>(tensor);
    const ggml_tensor* const all = view->view_src;
    if (all == nullptr || all->buffer == nullptr || !ggml_backend_buffer_is_host(all->buffer) || view->data != all->data ||
        all->ne[2] != static_cast<std::int64_t>(sequences)) {
      apart = false;
    } else {
      pages.tensors_.push_back({static_cast<std::byte*>(all->data), all->nb[2], format.cell_bytes, format.transposed});
    }
  });
  if (!apart) return std::nullopt;
  return pages;
}

void SequencePages::give_back(llama_seq_id sequence, std::size_t first_cell) const {
  for (const Tensor& tensor : tensors_) {
    if (tensor.transposed && first_cell > 0) continue;
    const auto data = reinterpret_cast<std::uintptr_t>(tensor.data) + static_cast<std::size_t>(sequence) * tensor.sequence_bytes;
    const std::uintptr_t begin = (data + first_cell * tensor.cell_bytes + kPage - 1) / kPage * kPage;
    const std::uintptr_t end = (data + tensor.sequence_bytes) / kPage * kPage;
    // A failure leaves the bytes where they are.
    if (begin < end) static_cast<void>(::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED));
  }
}

void SequencePages::make_ready(llama_seq_id sequence, std::size_t cells) const {
#ifdef MADV_POPULATE_WRITE
  constexpr std::size_t kAtOnceBytes = 1 << 20;
  for (const Tensor& tensor : tensors_) {
    if (tensor.transposed) continue;   // its rows are as long as the context: what is not used must not be touched
    const auto data = reinterpret_cast<std::uintptr_t>(tensor.data) + static_cast<std::size_t>(sequence) * tensor.sequence_bytes;
    std::uintptr_t begin = data / kPage * kPage;
    const std::uintptr_t end = (data + cells * tensor.cell_bytes + kPage - 1) / kPage * kPage;
    for (; begin < end; begin += std::min(kAtOnceBytes, end - begin)) {
      if (::madvise(reinterpret_cast<void*>(begin), std::min(kAtOnceBytes, end - begin), MADV_POPULATE_WRITE) != 0) return;
    }
  }
#endif
}

}   // namespace tensorcache::llama
