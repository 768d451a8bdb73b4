// Encodes the canonical bytes of a TensorCache key and hashes them (docs/format-tensor.md). Part of
// every key: never change it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "tensorcache/key.h"

namespace tensorcache::tensor {

class KeyEncoder {
 public:
  KeyEncoder() { bytes_.append("TCK1"); }

  void text(std::string_view utf8) { framed('s', utf8); }
  void bytes(std::string_view value) { framed('b', value); }
  void integer(std::int64_t value) { tagged('i', &value, sizeof value); }
  // An integer of any size: two's complement, little endian, as short as possible. Only for
  // integers that do not fit above.
  void big_integer(std::string_view twos_complement) { framed('I', twos_complement); }
  void boolean(bool value) {
    const char byte = value ? 1 : 0;
    tagged('?', &byte, 1);
  }
  void none() { bytes_.push_back('N'); }
  // REQUIRES: not NaN, which is not equal to itself.
  void real(double value) {
    const std::uint64_t bits = std::bit_cast<std::uint64_t>(value == 0 ? 0.0 : value);   // -0.0 is encoded as 0.0
    tagged('f', &bits, sizeof bits);
  }
  // Begins a tuple of integers, or an integer array with one axis; `count` calls of word() follow.
  void begin_tokens(std::uint64_t count) {
    bytes_.reserve(bytes_.size() + 1 + sizeof count + count * sizeof(std::int64_t));
    tagged('T', &count, sizeof count);
  }
  // Begins any other tuple; `count` items follow.
  void begin_tuple(std::uint64_t count) { tagged('(', &count, sizeof count); }
  // Begins an integer array with none or several axes; its shape and its elements in row-major
  // order follow, each as a word().
  void begin_array(std::uint64_t rank) { tagged('A', &rank, sizeof rank); }
  void word(std::int64_t value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof value); }
  template <class Integer>
  void tokens(std::span<const Integer> values) {
    begin_tokens(values.size());
    for (const Integer value : values) word(value);
  }

  [[nodiscard]] Key key() const { return Key::of(bytes_); }

 private:
  void tagged(char tag, const void* data, std::size_t size) {
    bytes_.push_back(tag);
    bytes_.append(static_cast<const char*>(data), size);
  }
  void framed(char tag, std::string_view value) {
    const std::uint64_t size = value.size();
    tagged(tag, &size, sizeof size);
    bytes_.append(value);
  }
  std::string bytes_;
};

}   // namespace tensorcache::tensor
