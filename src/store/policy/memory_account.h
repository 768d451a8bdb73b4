// Accounts for the memory of policies that grows with the cache: charged before it is allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace tensorcache::policy {

// The owner's; called as the policies are, under the owner's lock.
class MemoryAccount {
 public:
  virtual ~MemoryAccount() = default;
  // False: there is no room now. The policy goes without and may ask again with a later call.
  [[nodiscard]] virtual bool try_take(std::uint64_t bytes) noexcept = 0;
  virtual void give_back(std::uint64_t bytes) noexcept = 0;
};

// Arrays of memory from an account; without an account they are not counted.
class Memory {
 public:
  Memory() = default;
  explicit Memory(MemoryAccount& account) : account_(&account) {}

  // Null: no room, or no memory.
  template <class T>
  [[nodiscard]] T* take_array(std::size_t count) noexcept {
    if (account_ != nullptr && !account_->try_take(charge<T>(count))) return nullptr;
    T* const array = new (std::nothrow) T[count]();
    if (array == nullptr && account_ != nullptr) account_->give_back(charge<T>(count));
    return array;
  }
  template <class T>
  void give_back_array(T* array, std::size_t count) noexcept {
    delete[] array;
    if (account_ != nullptr && array != nullptr) account_->give_back(charge<T>(count));
  }

 private:
  static constexpr std::uint64_t kMallocBytes = 16;   // beside each block
  template <class T>
  [[nodiscard]] static std::uint64_t charge(std::size_t count) {
    return count * sizeof(T) + kMallocBytes;
  }
  MemoryAccount* account_ = nullptr;
};

// An array that grows and shrinks at its end by a chunk at a time: nothing in it moves.
template <class T, std::size_t kChunk>
class ChunkedArray {
 public:
  ChunkedArray() = default;
  ~ChunkedArray() { keep_chunks(0); }
  ChunkedArray(const ChunkedArray&) = delete;
  ChunkedArray& operator=(const ChunkedArray&) = delete;

  void use_memory(MemoryAccount& account) { memory_ = Memory(account); }   // while it has no chunks
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T& operator[](std::size_t i) { return chunks_[i / kChunk][i % kChunk]; }
  [[nodiscard]] const T& operator[](std::size_t i) const { return chunks_[i / kChunk][i % kChunk]; }
  // False: no memory for one more.
  [[nodiscard]] bool grow() noexcept {
    if (size_ == chunks_.size() * kChunk && !add_chunk()) return false;
    ++size_;
    return true;
  }
  void pop_back() noexcept {
    --size_;
    if (chunks_.size() > size_ / kChunk + 2) keep_chunks(chunks_.size() - 1);
  }
  void clear() noexcept {
    size_ = 0;
    keep_chunks(0);
  }
  // Gives back chunks that nothing is in.
  void shed() noexcept { keep_chunks((size_ + kChunk - 1) / kChunk); }

 private:
  [[nodiscard]] bool add_chunk() noexcept {
    try {
      chunks_.push_back(nullptr);
    } catch (const std::bad_alloc&) {
      return false;
    }
    chunks_.back() = memory_.template take_array<T>(kChunk);
    if (chunks_.back() != nullptr) return true;
    chunks_.pop_back();
    return false;
  }
  void keep_chunks(std::size_t count) noexcept {
    for (; chunks_.size() > count; chunks_.pop_back()) memory_.give_back_array(chunks_.back(), kChunk);
  }

  Memory memory_;
  std::vector<T*> chunks_;
  std::size_t size_ = 0;
};

}   // namespace tensorcache::policy
