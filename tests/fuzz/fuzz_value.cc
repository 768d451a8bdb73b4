// Whatever the bytes, a TensorCache's value decodes to nothing or to parts that lie dense within
// them and can be stored again.
#include <cstring>
#include <string>

#include "fuzz_target.h"
#include "library/tensor/value_format.h"

using namespace tensorcache;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto value = tensor::decode({reinterpret_cast<const std::byte*>(data), size});
  if (!value) return 0;
  std::vector<TensorView> parts;
  for (std::size_t i = 0; i < value->part_at.size(); ++i) {
    parts.push_back(value->part(i));
    const auto* begin = static_cast<const std::uint8_t*>(parts.back().data);
    FUZZ_CHECK(begin >= data && begin + parts.back().nbytes() <= data + size && parts.back().is_dense());
  }
  const tensor::Encoder encoder(value->head, parts, value->structure);
  if (encoder.bytes() > (1 << 20)) return 0;   // parts that lie over each other, written out
  std::vector<std::byte> again(encoder.bytes());
  encoder.write(again);
  const auto copy = tensor::decode(again);
  FUZZ_CHECK(copy && copy->part_at.size() == parts.size() && copy->structure == value->structure && copy->head.tags == value->head.tags);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    FUZZ_CHECK(copy->part(i).shape == parts[i].shape && copy->part(i).nbytes() == parts[i].nbytes());
    if (parts[i].nbytes() > 0) FUZZ_CHECK(std::memcmp(copy->part(i).data, parts[i].data, parts[i].nbytes()) == 0);
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const float numbers[] = {1, 2, 3, 4, 5, 6};
  const TensorView parts[] = {{DType::kFloat32, numbers, {2, 3}, {1, 2}}, TensorView::text("text"), TensorView::bytes({})};
  tensor::Encoder encoder({.version = 5, .as_of = 4, .tags = {tensor::tag_id("t")}}, parts, "[0,1,2]");
  std::string seed(encoder.bytes(), '\0');
  encoder.write(std::as_writable_bytes(std::span(seed)));
  return {seed};
}
