#include "library/tensor/key_encoder.h"
#include "tensorcache/tensor_cache.h"

namespace tensorcache {
namespace {

template <class Add>
Key encoded(const Add& add) {
  tensor::KeyEncoder encoder;
  add(encoder);
  return encoder.key();
}

}   // namespace

ItemKey::ItemKey(std::string_view text) : key_(encoded([&](auto& encoder) { encoder.text(text); })) {}

ItemKey::ItemKey(std::span<const std::byte> bytes)
    : key_(encoded([&](auto& encoder) { encoder.bytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()}); })) {}

ItemKey::ItemKey(std::span<const std::int64_t> tokens) : key_(encoded([&](auto& encoder) { encoder.tokens(tokens); })) {}

ItemKey::ItemKey(std::span<const std::int32_t> tokens) : key_(encoded([&](auto& encoder) { encoder.tokens(tokens); })) {}

}   // namespace tensorcache
