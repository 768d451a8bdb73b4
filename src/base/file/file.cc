#include "base/file/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

namespace tensorcache::file {
namespace {

constexpr std::size_t kMaxParts = 512;   // of one system call
constexpr std::size_t kMinOpen = 8, kMaxOpen = 1024;

// Converts parts to iovecs; the const_cast is safe, because the system does not write through them.
template <class Byte>
std::span<const iovec> vectors_of(std::span<const std::span<Byte>> parts, std::array<iovec, kMaxParts>& vectors) {
  std::size_t count = 0;
  for (const auto& part : parts.first(std::min(parts.size(), kMaxParts))) {
    vectors[count++] = {const_cast<std::byte*>(part.data()), part.size()};
  }
  return std::span(vectors).first(count);
}

template <class Call>
Transfer again_if_interrupted(const Call& call) {
  for (;;) {
    const ssize_t bytes = call();
    if (bytes >= 0) return {static_cast<std::size_t>(bytes), 0};
    if (errno != EINTR) return {0, errno};
  }
}

class PosixFile final : public File {
 public:
  explicit PosixFile(int fd) : fd_(fd) {}
  ~PosixFile() override { ::close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Transfer read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) override {
    std::array<iovec, kMaxParts> memory;
    const auto vectors = vectors_of(parts, memory);
    return again_if_interrupted([&] { return ::preadv(fd_, vectors.data(), static_cast<int>(vectors.size()), static_cast<off_t>(offset)); });
  }
  Transfer write(std::uint64_t offset, std::span<const std::span<const std::byte>> parts) override {
    std::array<iovec, kMaxParts> memory;
    const auto vectors = vectors_of(parts, memory);
    return again_if_interrupted([&] { return ::pwritev(fd_, vectors.data(), static_cast<int>(vectors.size()), static_cast<off_t>(offset)); });
  }
  int sync() override { return ::fdatasync(fd_) == 0 ? 0 : errno; }
  int truncate(std::uint64_t bytes) override { return ::ftruncate(fd_, static_cast<off_t>(bytes)) == 0 ? 0 : errno; }
  int size(std::uint64_t* bytes) override {
    struct stat status{};
    if (::fstat(fd_, &status) != 0) return errno;
    *bytes = static_cast<std::uint64_t>(status.st_size);
    return 0;
  }
  void will_need(std::uint64_t offset, std::uint64_t bytes) override {
    static_cast<void>(::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED));
  }
  bool is_at(const std::string& path) override {
    struct stat here{}, there{};
    return ::fstat(fd_, &here) == 0 && ::stat(path.c_str(), &there) == 0 && here.st_dev == there.st_dev && here.st_ino == there.st_ino;
  }

 private:
  const int fd_;
};

class PosixFileSystem final : public FileSystem {
 public:
  std::unique_ptr<File> open(const std::string& path, Open mode, int* error) override {
    const int flags = mode == Open::kRead ? O_RDONLY : mode == Open::kWrite ? O_RDWR : O_RDWR | O_CREAT | O_EXCL;
    return opened(path, flags, error);
  }
  std::unique_ptr<File> lock(const std::string& path, int* error) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (fd < 0) {
      *error = errno;
      return nullptr;
    }
    auto file = std::make_unique<PosixFile>(fd);
    *error = ::flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    return *error == 0 ? std::move(file) : nullptr;
  }
  int list(const std::string& directory, std::vector<std::string>* names) override {
    DIR* const open = ::opendir(directory.c_str());
    if (open == nullptr) return errno;
    names->clear();
    errno = 0;
    while (const dirent* entry = ::readdir(open)) names->emplace_back(entry->d_name);
    const int error = errno;
    ::closedir(open);
    return error;
  }
  int remove(const std::string& path) override { return ::unlink(path.c_str()) == 0 ? 0 : errno; }
  int rename(const std::string& from, const std::string& to) override { return std::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno; }
  int make_directory(const std::string& directory) override {
    for (std::size_t end = directory.find('/', 1);; end = directory.find('/', end + 1)) {
      const std::string part = directory.substr(0, end);
      if (::mkdir(part.c_str(), S_IRWXU) != 0 && errno != EEXIST) return errno;
      if (end == std::string::npos) break;
    }
    struct stat status{};
    if (::stat(directory.c_str(), &status) != 0) return errno;
    if (!S_ISDIR(status.st_mode)) return ENOTDIR;
    // Cached data is private: also restrict a directory that existed before.
    if (status.st_uid == ::geteuid() && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0 && ::chmod(directory.c_str(), S_IRWXU) != 0) return errno;
    return 0;
  }
  int sync_directory(const std::string& directory) override {
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno;
    const int error = ::fsync(fd) == 0 ? 0 : errno;
    ::close(fd);
    return error;
  }
  bool exists(const std::string& path) override { return ::access(path.c_str(), F_OK) == 0; }
  int size_of(const std::string& path, std::uint64_t* bytes) override {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) return errno;
    *bytes = S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0;
    return 0;
  }
  std::size_t max_open_files() override {
    struct rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMinOpen;
    if (limit.rlim_cur < 2 * kMaxOpen && limit.rlim_cur < limit.rlim_max) {
      struct rlimit raised = limit;
      raised.rlim_cur = std::min<rlim_t>(2 * kMaxOpen, limit.rlim_max);
      if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
    }
    return std::clamp<std::size_t>(limit.rlim_cur / 2, kMinOpen, kMaxOpen);
  }

 private:
  static std::unique_ptr<File> opened(const std::string& path, int flags, int* error) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    *error = fd < 0 ? errno : 0;
    return fd < 0 ? nullptr : std::make_unique<PosixFile>(fd);
  }
};

// Removes the first `done` bytes from the parts.
template <class Byte>
void drop_front(std::vector<std::span<Byte>>& parts, std::size_t done) {
  auto part = parts.begin();
  while (part != parts.end() && done >= part->size()) {
    done -= part->size();
    ++part;
  }
  parts.erase(parts.begin(), part);
  if (done > 0) parts.front() = parts.front().subspan(done);
}

template <class Byte, class Call>
int transfer_fully(std::uint64_t offset, std::span<const std::span<Byte>> parts, int at_nothing, const Call& call) {
  std::vector<std::span<Byte>> rest(parts.begin(), parts.end());
  drop_front(rest, 0);
  while (!rest.empty()) {
    const Transfer transfer = call(offset, rest);
    if (transfer.error != 0) return transfer.error;
    if (transfer.bytes == 0) return at_nothing;
    offset += transfer.bytes;
    drop_front(rest, transfer.bytes);
  }
  return 0;
}

}   // namespace

std::shared_ptr<FileSystem> real_file_system() { return std::make_shared<PosixFileSystem>(); }

int read_fully(File& file, std::uint64_t offset, std::span<const std::span<std::byte>> parts) {
  return transfer_fully(offset, parts, kEndOfFile, [&](std::uint64_t at, const auto& rest) { return file.read(at, rest); });
}
int write_fully(File& file, std::uint64_t offset, std::span<const std::span<const std::byte>> parts) {
  return transfer_fully(offset, parts, EIO, [&](std::uint64_t at, const auto& rest) { return file.write(at, rest); });
}
int read_fully(File& file, std::uint64_t offset, std::span<std::byte> bytes) {
  return read_fully(file, offset, std::span<const std::span<std::byte>>(&bytes, 1));
}
int write_fully(File& file, std::uint64_t offset, std::span<const std::byte> bytes) {
  return write_fully(file, offset, std::span<const std::span<const std::byte>>(&bytes, 1));
}

}   // namespace tensorcache::file
