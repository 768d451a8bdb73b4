#include "tools/trace/recorder.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace tensorcache::trace {
namespace {

[[noreturn]] void fail(const std::string& path) { throw std::runtime_error(path + ": " + std::strerror(errno)); }

// Reads the secret, or creates it.
void load_secret(const std::string& path, std::span<std::uint8_t> secret) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) fail(path);
  const auto size = static_cast<ssize_t>(secret.size());
  ssize_t count = ::pread(fd, secret.data(), secret.size(), 0);
  if (count == 0) {
    if (::getrandom(secret.data(), secret.size(), 0) != size) count = -1;
    if (count == 0) count = ::pwrite(fd, secret.data(), secret.size(), 0);
  }
  const int error = errno;
  ::close(fd);
  errno = count < 0 ? error : EINVAL;
  if (count != size) fail(path);
}

// 53 bits, which every JSON parser preserves.
std::uint64_t digest(std::span<const std::uint8_t> secret, const Key& block) {
  const Key key = KeyBuilder("trace/1").field("secret", std::as_bytes(secret)).field("block", block).build();
  std::uint64_t number = 0;
  std::memcpy(&number, key.bytes.data(), sizeof number);
  return number >> 11;
}

}   // namespace

Recorder::Recorder(const std::string& path) {
  load_secret(path + ".key", secret_);
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) fail(path);
  file_.reset(::fdopen(fd, "a"));
  if (!file_) fail(path);
}

void Recorder::add(std::span<const Key> blocks, std::uint64_t input_tokens, std::uint64_t output_tokens) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  const std::uint64_t block_bytes = block_bytes_.load();
  std::string line = "{\"timestamp\":" + std::to_string(now) + (block_bytes == 0 ? "" : ",\"block_bytes\":" + std::to_string(block_bytes)) +
                     ",\"input_length\":" + std::to_string(input_tokens) + ",\"output_length\":" + std::to_string(output_tokens) + ",\"hash_ids\":[";
  for (std::size_t i = 0; i < blocks.size(); ++i) line += (i > 0 ? "," : "") + std::to_string(digest(secret_, blocks[i]));
  line += "]}\n";
  const std::lock_guard lock(mutex_);
  const bool written = std::fwrite(line.data(), 1, line.size(), file_.get()) == line.size() && std::fflush(file_.get()) == 0;
  if (!written) {
    ++lost_;
    std::clearerr(file_.get());
  }
}

std::uint64_t Recorder::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

}   // namespace tensorcache::trace
