#include "serving/model/file_digest.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace tensorcache::model {
namespace {

struct Fd {
  int value;
  ~Fd() {
    if (value >= 0) ::close(value);
  }
};

std::string identity_of(const struct stat& status) {
  std::ostringstream identity;
  identity << status.st_dev << ' ' << status.st_ino << ' ' << status.st_size;
  // Includes the change time: an in-place copy may restore the modification time.
  for (const timespec& time : {status.st_mtim, status.st_ctim}) identity << ' ' << time.tv_sec << '.' << time.tv_nsec;
  return identity.str();
}

std::optional<Key> remembered(const std::string& memo_path, const std::string& identity) {
  std::ifstream memo(memo_path);
  std::optional<Key> found;
  for (std::string line; std::getline(memo, line);) {   // "digest identity"; the last line wins
    if (line.size() > 65 && line.substr(65) == identity) found = Key::from_hex(line.substr(0, 64));
  }
  return found;
}

void remember(const std::string& memo_path, const std::string& identity, const Key& digest) {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(memo_path).parent_path(), ignored);
  const std::string line = digest.hex() + ' ' + identity + '\n';
  // One line, appended with one write: safe for concurrent processes.
  const Fd fd{::open(memo_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (fd.value >= 0 && ::write(fd.value, line.data(), line.size()) < 0) return;   // losing it only costs time
}

[[noreturn]] void fail(const std::string& path, int error) { throw std::runtime_error(path + ": " + std::strerror(error)); }

}   // namespace

Key file_digest(const std::string& path, const std::string& memo_path) {
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (fd.value < 0) fail(path, errno);
  struct stat status{};
  if (::fstat(fd.value, &status) != 0) fail(path, errno);
  const std::string identity = identity_of(status);
  if (!memo_path.empty()) {
    if (const auto known = remembered(memo_path, identity)) return *known;
  }

  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  std::vector<char> buffer(std::size_t{4} << 20);
  for (;;) {
    const ssize_t got = ::read(fd.value, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, errno);
    if (got == 0) break;
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<std::size_t>(got));
  }
  Key digest;
  EVP_DigestFinal_ex(context.get(), digest.bytes.data(), nullptr);
  if (!memo_path.empty()) remember(memo_path, identity, digest);
  return digest;
}

}   // namespace tensorcache::model
