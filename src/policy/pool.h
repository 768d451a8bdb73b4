// Objects that stay where they are, and are used again when they are given back.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace tensorcache {

// No throw.
template <class T>
class Pool {
 public:
  // Null: no memory.
  [[nodiscard]] T* take() noexcept {
    if (free_.empty() && size_ == chunks_.size() * kChunk && !grow()) return nullptr;
    T* object = nullptr;
    if (free_.empty()) {
      object = &(*this)[size_++];
    } else {
      object = free_.back();
      free_.pop_back();
    }
    *object = T();
    return object;
  }
  void give_back(T* object) noexcept {
    *object = T();
    free_.push_back(object);
  }
  // All that were ever taken, numbered up to size(); those that were given back are as new.
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T& operator[](std::size_t i) { return chunks_[i / kChunk][i % kChunk]; }

 private:
  static constexpr std::size_t kChunk = 256;
  bool grow() noexcept {
    try {
      free_.reserve(size_ + kChunk > free_.capacity() ? 2 * (size_ + kChunk) : free_.capacity());   // so that give_back() has room
      chunks_.push_back(std::make_unique<T[]>(kChunk));
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  std::vector<std::unique_ptr<T[]>> chunks_;
  std::vector<T*> free_;
  std::size_t size_ = 0;
};

}   // namespace tensorcache
