#define XXH_INLINE_ALL
#include "tools/simulate/recording.h"

#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <utility>

#include "tools/trace/lines.h"
#include "tools/trace/mooncake.h"

namespace tensorcache::simulate {
namespace {

[[noreturn]] void fail(const char* what) { throw std::runtime_error(std::string("temporary file: ") + what + ": " + std::strerror(errno)); }

std::uint64_t hash_of(std::string_view key) { return XXH3_64bits(key.data(), key.size()); }

Format guess(const std::string& line) {
  if (line.starts_with('{')) return Format::kMooncake;
  return line.find(',') != std::string::npos ? Format::kSized : Format::kKeys;
}

// True unless it is the header line of a table.
bool parse_sized(const std::string& line, bool first, std::uint64_t* key, std::uint64_t* bytes) {
  const std::size_t comma = line.rfind(',');
  if (comma == std::string::npos) throw std::runtime_error("is not key,size");
  const char* const begin = line.data() + comma + 1;
  const char* const end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(begin, end, *bytes);
  if (error != std::errc() || stop != end || *bytes == 0 || *bytes > std::numeric_limits<std::uint32_t>::max()) {
    if (first && begin != end && (*begin < '0' || *begin > '9')) return false;
    throw std::runtime_error("the size '" + std::string(begin, end) + "' is not a whole number from 1 to 4294967295");
  }
  *key = hash_of(std::string_view(line).substr(0, comma));
  return true;
}

void add_line(const std::string& line, bool first, Format format, ReadResult* result) {
  Recording* const recording = &result->recording;
  std::uint64_t key = 0, bytes = 1;
  switch (format) {
    case Format::kMooncake: {
      const trace::Request request = trace::parse_mooncake(line);
      recording->add(request.blocks, request.input_tokens, request.output_tokens);
      if (request.block_bytes > 0) result->block_bytes = request.block_bytes;
      return;
    }
    case Format::kSized:
      if (!parse_sized(line, first, &key, &bytes)) return;
      break;
    default:
      key = hash_of(line);
  }
  recording->add(std::span(&key, 1), 0, 0, bytes);
}

}   // namespace

template <class T>
Spool<T>::Spool() : file_(std::tmpfile()) {
  if (file_ == nullptr) fail("cannot be made");
}
template <class T>
Spool<T>::~Spool() {
  if (data_ != nullptr) munmap(data_, size_ * sizeof(T));
  if (file_ != nullptr) std::fclose(file_);
}
template <class T>
Spool<T>::Spool(Spool&& other) noexcept
    : file_(std::exchange(other.file_, nullptr)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
template <class T>
void Spool<T>::push_back(const T& value) {
  if (std::fwrite(&value, sizeof value, 1, file_) != 1) fail("cannot be written");
  ++size_;
}
template <class T>
void Spool<T>::finish() {
  if (std::fflush(file_) != 0) fail("cannot be written");
  if (size_ == 0) return;
  void* data = mmap(nullptr, size_ * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file_), 0);
  if (data == MAP_FAILED) fail("cannot be mapped");
  data_ = static_cast<T*>(data);
}
template class Spool<Step>;
template class Spool<std::uint32_t>;

void Recording::add(std::span<const std::uint64_t> keys, std::uint64_t input_tokens, std::uint64_t output_tokens, std::uint64_t bytes) {
  const auto clamped = [](std::uint64_t count) { return static_cast<std::uint32_t>(std::min<std::uint64_t>(count, UINT32_MAX)); };
  Step step{blocks_.size(), 0, clamped(input_tokens), clamped(output_tokens)};
  for (const std::uint64_t key : keys) {
    const auto [found, fresh] = numbers_.try_emplace(key, static_cast<std::uint32_t>(bytes_.size()));
    if (fresh) {
      if (bytes_.size() == std::numeric_limits<std::uint32_t>::max()) throw std::runtime_error("more than 4294967295 distinct keys");
      bytes_.push_back(static_cast<std::uint32_t>(bytes));
      distinct_bytes_ += bytes;
    }
    blocks_.push_back(found->second);
    ++step.blocks;
  }
  chained_ = chained_ || step.blocks > 1;
  steps_.push_back(step);
}

void Recording::finish() {
  steps_.finish();
  blocks_.finish();
  numbers_ = {};
}

ReadResult read_recording(const ReadOptions& options) {
  ReadResult result;
  result.format = options.format;
  trace::Lines lines(options.path);
  std::error_code ignored;
  const auto file_bytes = static_cast<double>(std::max<std::uintmax_t>(1, std::filesystem::file_size(options.path, ignored)));
  const auto at = [&](std::uint64_t number) { return options.path + ":" + std::to_string(number) + ": "; };
  std::string line;
  bool first = true;
  for (std::uint64_t number = 1;; ++number) {
    try {
      if (!lines.next(line)) break;
    } catch (const std::runtime_error& error) {   // of the file, not of a line: nothing to skip
      throw std::runtime_error(at(number) + error.what());
    }
    if (line.empty()) continue;
    if (result.format == Format::kAuto) result.format = guess(line);
    try {
      add_line(line, std::exchange(first, false), result.format, &result);
    } catch (const std::runtime_error& error) {
      if (!options.skip_bad) throw std::runtime_error(at(number) + error.what());
      if (result.bad_lines++ == 0) result.first_bad = "line " + std::to_string(number) + ": " + error.what();
    }
    if (options.progress && number % 1024 == 0) options.progress(static_cast<double>(lines.read_bytes()) / file_bytes);
  }
  result.recording.finish();
  if (result.recording.blocks().empty()) throw std::runtime_error(options.path + ": contains no requests");
  return result;
}

}   // namespace tensorcache::simulate
