// Files as the disk tier needs them: an interface, so that tests can put faults in between.
//
// Errors are errno values, 0 is success. Nothing throws but std::bad_alloc. Threads: one File may
// be read and written by several at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tensorcache::file {

// The file ended before what was asked for.
inline constexpr int kEndOfFile = -1;

struct Transfer {
  std::size_t bytes = 0;   // may be fewer than asked for; 0 when reading: the end of the file
  int error = 0;
};

class File {
 public:
  virtual ~File() = default;
  // At `offset`, into or from the parts in their order.
  [[nodiscard]] virtual Transfer read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) = 0;
  [[nodiscard]] virtual Transfer write(std::uint64_t offset, std::span<const std::span<const std::byte>> parts) = 0;
  // What was written before survives a power cut from here on. After an error nothing is known of
  // it, and asking again tells nothing.
  [[nodiscard]] virtual int sync() = 0;
  [[nodiscard]] virtual int truncate(std::uint64_t bytes) = 0;
  [[nodiscard]] virtual int size(std::uint64_t* bytes) = 0;
  // A hint that this part will be read soon.
  virtual void will_need(std::uint64_t offset, std::uint64_t bytes) = 0;
  // Whether `path` names this file, and not another one of that name, or none.
  [[nodiscard]] virtual bool is_at(const std::string& path) = 0;
};

enum class Open : std::uint8_t {
  kRead,
  kWrite,    // for reading and writing
  kCreate,   // likewise; it must not exist yet
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Null with *error set. Never follows a symbolic link at the end of `path`. New files belong to
  // their owner alone (0600).
  [[nodiscard]] virtual std::unique_ptr<File> open(const std::string& path, Open mode, int* error) = 0;
  // Held until the result goes, by any process: EWOULDBLOCK if another has it.
  [[nodiscard]] virtual std::unique_ptr<File> lock(const std::string& path, int* error) = 0;
  [[nodiscard]] virtual int list(const std::string& directory, std::vector<std::string>* names) = 0;
  [[nodiscard]] virtual int remove(const std::string& path) = 0;
  [[nodiscard]] virtual int rename(const std::string& from, const std::string& to) = 0;
  // With those above it, for its owner alone (0700). Success if it is there already.
  [[nodiscard]] virtual int make_directory(const std::string& directory) = 0;
  // Files made, renamed and removed in it survive a power cut from here on.
  [[nodiscard]] virtual int sync_directory(const std::string& directory) = 0;
  [[nodiscard]] virtual bool exists(const std::string& path) = 0;
  [[nodiscard]] virtual int size_of(const std::string& path, std::uint64_t* bytes) = 0;
  // How many files one cache may hold open: half of what the process may open, after that limit was
  // raised as far as is needed and allowed.
  [[nodiscard]] virtual std::size_t most_open_files() = 0;
};

// The real one.
[[nodiscard]] std::shared_ptr<FileSystem> real_file_system();

// All of it, however many calls that takes. kEndOfFile if there is less.
[[nodiscard]] int read_fully(File& file, std::uint64_t offset, std::span<const std::span<std::byte>> parts);
[[nodiscard]] int write_fully(File& file, std::uint64_t offset, std::span<const std::span<const std::byte>> parts);
[[nodiscard]] int read_fully(File& file, std::uint64_t offset, std::span<std::byte> bytes);
[[nodiscard]] int write_fully(File& file, std::uint64_t offset, std::span<const std::byte> bytes);

}   // namespace tensorcache::file
