// A trace in a form that simulations read fast: dense numbers instead of keys, in memory-mapped
// temporary files, so that memory grows only with the distinct keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace tensorcache::simulate {

// One request: blocks that are chained, or one key alone.
struct Step {
  std::uint64_t first = 0;   // where its blocks begin, of all
  std::uint32_t blocks = 0;
  std::uint32_t input_tokens = 0, output_tokens = 0;
};

// Grows at its end, then is mapped. The file has no name.
template <class T>
class Spool {
 public:
  Spool();
  ~Spool();
  Spool(Spool&& other) noexcept;
  Spool& operator=(Spool&&) = delete;
  void push_back(const T& value);
  [[nodiscard]] std::uint64_t size() const { return size_; }
  // No push_back afterwards. Throws std::runtime_error.
  void finish();
  [[nodiscard]] std::span<const T> all() const { return {data_, size_}; }
  [[nodiscard]] std::span<T> writable() { return {data_, size_}; }

 private:
  std::FILE* file_ = nullptr;
  T* data_ = nullptr;
  std::uint64_t size_ = 0;
};

class Recording {
 public:
  // Appends a request; equal keys are equal blocks. `bytes`: of each, for keys that have a size;
  // the first one counts.
  void add(std::span<const std::uint64_t> keys, std::uint64_t input_tokens, std::uint64_t output_tokens = 0, std::uint64_t bytes = 1);
  void finish();

  [[nodiscard]] std::span<const Step> steps() const { return steps_.all(); }
  [[nodiscard]] std::span<const std::uint32_t> blocks(const Step& step) const { return blocks_.all().subspan(step.first, step.blocks); }
  [[nodiscard]] std::span<const std::uint32_t> blocks() const { return blocks_.all(); }
  [[nodiscard]] std::size_t distinct() const { return bytes_.size(); }
  // What each takes: its size, or 1.
  [[nodiscard]] std::span<const std::uint32_t> bytes() const { return bytes_; }
  [[nodiscard]] std::uint64_t distinct_bytes() const { return distinct_bytes_; }
  [[nodiscard]] bool chained() const { return chained_; }

 private:
  Spool<Step> steps_;
  Spool<std::uint32_t> blocks_;
  std::unordered_map<std::uint64_t, std::uint32_t> numbers_;   // by key
  std::vector<std::uint32_t> bytes_;                           // by number
  std::uint64_t distinct_bytes_ = 0;
  bool chained_ = false;
};

enum class Format : std::uint8_t {
  kAuto,
  kMooncake,   // JSON lines with hash_ids
  kKeys,       // a key a line
  kSized       // key,size
};

struct ReadOptions {
  std::string path = {};
  Format format = Format::kAuto;
  bool skip_bad = false;
  std::function<void(double share)> progress = {};   // of the file
};
struct ReadResult {
  Recording recording;
  Format format = Format::kAuto;
  std::uint64_t bad_lines = 0;
  std::string first_bad;           // "line 7: ..."
  std::uint64_t block_bytes = 0;   // as a line says; 0: none does
};
// Throws std::runtime_error that names file and line: one that is broken (unless they are skipped),
// an empty trace, a file that ends early.
[[nodiscard]] ReadResult read_recording(const ReadOptions& options);

}   // namespace tensorcache::simulate
