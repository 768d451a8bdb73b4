// File operations of the disk tier, as an interface so that tests can inject faults.
//
// ERRORS: errno values; 0 is success. Only std::bad_alloc is thrown.
// THREADS: one File may be read and written by several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tensorcache::file {

// The file ended before the requested bytes.
inline constexpr int kEndOfFile = -1;

struct Transfer {
  std::size_t bytes = 0;   // may be fewer than requested; 0 on a read: end of file
  int error = 0;
};

class File {
 public:
  virtual ~File() = default;
  // Transfers at `offset`, into or from the parts in order.
  [[nodiscard]] virtual Transfer read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) = 0;
  [[nodiscard]] virtual Transfer write(std::uint64_t offset, std::span<const std::span<const std::byte>> parts) = 0;
  // Makes earlier writes survive a power loss. After an error their state is unknown, and another
  // call does not tell.
  [[nodiscard]] virtual int sync() = 0;
  [[nodiscard]] virtual int truncate(std::uint64_t bytes) = 0;
  [[nodiscard]] virtual int size(std::uint64_t* bytes) = 0;
  // Announces that this range will be read soon.
  virtual void will_need(std::uint64_t offset, std::uint64_t bytes) = 0;
  // RETURNS true if `path` names this file; false if it names another file or none.
  [[nodiscard]] virtual bool is_at(const std::string& path) = 0;
};

enum class Open : std::uint8_t {
  kRead,
  kWrite,    // read and write
  kCreate,   // the same; the file must not exist yet
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // RETURNS null and sets *error on failure. Does not follow a symbolic link at the end of `path`.
  // New files have mode 0600.
  [[nodiscard]] virtual std::unique_ptr<File> open(const std::string& path, Open mode, int* error) = 0;
  // Locks a file, across processes, until the result is destroyed. EWOULDBLOCK: locked by another.
  [[nodiscard]] virtual std::unique_ptr<File> lock(const std::string& path, int* error) = 0;
  [[nodiscard]] virtual int list(const std::string& directory, std::vector<std::string>* names) = 0;
  [[nodiscard]] virtual int remove(const std::string& path) = 0;
  [[nodiscard]] virtual int rename(const std::string& from, const std::string& to) = 0;
  // Creates the directory and its parents with mode 0700. Success if it exists.
  [[nodiscard]] virtual int make_directory(const std::string& directory) = 0;
  // Makes creations, renames and removals of files in it survive a power loss.
  [[nodiscard]] virtual int sync_directory(const std::string& directory) = 0;
  [[nodiscard]] virtual bool exists(const std::string& path) = 0;
  [[nodiscard]] virtual int size_of(const std::string& path, std::uint64_t* bytes) = 0;
  // RETURNS the maximum number of files that one cache may hold open: half of the process's limit,
  // which is raised first as far as needed and allowed.
  [[nodiscard]] virtual std::size_t max_open_files() = 0;
};

// RETURNS the system's file system.
[[nodiscard]] std::shared_ptr<FileSystem> real_file_system();

// Reads everything, in as many calls as needed. kEndOfFile if the file is shorter.
[[nodiscard]] int read_fully(File& file, std::uint64_t offset, std::span<const std::span<std::byte>> parts);
[[nodiscard]] int write_fully(File& file, std::uint64_t offset, std::span<const std::span<const std::byte>> parts);
[[nodiscard]] int read_fully(File& file, std::uint64_t offset, std::span<std::byte> bytes);
[[nodiscard]] int write_fully(File& file, std::uint64_t offset, std::span<const std::byte> bytes);

}   // namespace tensorcache::file
