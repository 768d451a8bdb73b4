#include "store/disk/names_and_hits.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <new>
#include <sstream>
#include <vector>

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kMaxBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kMaxNamesBytes = 2 * kMaxNames * (kMaxNameBytes + 32);
constexpr std::size_t kUsageEntryBytes = sizeof(Key) + sizeof(std::uint16_t);
constexpr std::size_t kBufferBytes = 64 << 10;
constexpr std::string_view kUsageMagic = "TCUSAGE1";

// Reads a file, or the first `most` bytes of a larger one.
std::vector<std::byte> read_file(file::FileSystem& files, const std::string& path, std::uint64_t max_bytes) {
  int error = 0;
  std::uint64_t bytes = 0;
  const auto file = files.open(path, file::Open::kRead, &error);
  if (!file || file->size(&bytes) != 0) return {};
  std::vector<std::byte> content(std::min(bytes, max_bytes));
  return file::read_fully(*file, 0, content) == 0 ? content : std::vector<std::byte>();
}

// Replaces a file atomically.
int replace_file(file::FileSystem& files, const std::string& path, std::span<const std::byte> content) {
  const std::string next = path + ".next";
  static_cast<void>(files.remove(next));
  int error = 0;
  const auto file = files.open(next, file::Open::kCreate, &error);
  if (!file) return error;
  if ((error = file::write_fully(*file, 0, content)) == 0) error = files.rename(next, path);
  if (error != 0) static_cast<void>(files.remove(next));
  return error;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  void add(std::span<const std::byte> bytes) { static_cast<void>(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size())); }
  [[nodiscard]] Key digest() {
    Key key;
    static_cast<void>(EVP_DigestFinal_ex(context_.get(), key.bytes.data(), nullptr));
    return key;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}   // namespace

std::string printable_name(const std::string& name) {
  std::string text = name.substr(0, kMaxNameBytes);
  std::replace_if(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  return text;
}

bool add_name(std::map<std::uint64_t, std::string>& names, std::uint64_t number, std::string name) {
  if (names.size() >= kMaxNames && !names.contains(number)) return false;
  names[number].swap(name);
  return true;
}

Names read_names(file::FileSystem& files, const std::string& directory) {
  const std::vector<std::byte> content = read_file(files, directory + "/names", kMaxNamesBytes);
  std::istringstream lines(std::string(reinterpret_cast<const char*>(content.data()), content.size()));
  Names names;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(' '), second = line.find(' ', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(line.data() + first + 1, line.data() + second, number, 16);
    if (error != std::errc() || end != line.data() + second) continue;
    if (line.starts_with("owner ")) add_name(names.owners, number, printable_name(line.substr(second + 1)));
    if (line.starts_with("source ")) add_name(names.sources, number, printable_name(line.substr(second + 1)));
  }
  return names;
}

std::string names_text(const Names& names, std::uint64_t max_bytes) {
  std::string text;
  const auto add = [&](const char* what, const std::map<std::uint64_t, std::string>& some) {
    for (const auto& [number, name] : some) {
      std::array<char, 16> digits;
      const auto end = std::to_chars(digits.begin(), digits.end(), number, 16).ptr;
      const std::string line = what + std::string(digits.begin(), end) + ' ' + name + '\n';
      if (text.size() + line.size() > max_bytes) return;
      text += line;
    }
  };
  add("owner ", names.owners);
  add("source ", names.sources);
  return text;
}

int write_names(file::FileSystem& files, const std::string& directory, const std::string& text) {
  return replace_file(files, directory + "/names", std::as_bytes(std::span(text)));
}

// Format: magic, then key and hits of each value, little endian, then a SHA-256 of all before it.
struct UsageWriter::State {
  file::FileSystem& files;
  std::string path;
  std::unique_ptr<file::File> file;
  Sha256 hash;
  std::vector<std::byte> buffer;
  std::uint64_t end = 0;
  int error = 0;

  void put(const void* data, std::size_t bytes) {
    const auto* begin = static_cast<const std::byte*>(data);
    buffer.insert(buffer.end(), begin, begin + bytes);
    if (buffer.size() >= kBufferBytes) write();
  }
  void write() {
    hash.add(buffer);
    if (error == 0) error = file::write_fully(*file, end, buffer);
    end += buffer.size();
    buffer.clear();
  }
};

UsageWriter::UsageWriter(file::FileSystem& files, const std::string& directory)
    : state_(new State{files, directory + "/usage", nullptr, {}, {}, 0, 0}) {
  static_cast<void>(files.remove(state_->path + ".next"));
  state_->file = files.open(state_->path + ".next", file::Open::kCreate, &state_->error);
  state_->buffer.reserve(kBufferBytes + kUsageEntryBytes);
  state_->put(kUsageMagic.data(), kUsageMagic.size());
}

UsageWriter::~UsageWriter() = default;

void UsageWriter::add(std::span<const Used> used) {
  for (const Used& each : used) {
    if (state_->error != 0 || state_->end + state_->buffer.size() + kUsageEntryBytes + sizeof(Key) > kMaxBytes) return;
    state_->put(each.key.bytes.data(), sizeof(Key));
    state_->put(&each.hits, sizeof each.hits);
  }
}

void UsageWriter::finish() {
  State& state = *state_;
  if (state.error == 0) state.write();
  if (state.error == 0) {
    const Key whole = state.hash.digest();
    state.error = file::write_fully(*state.file, state.end, std::as_bytes(std::span(whole.bytes)));
  }
  if (state.error == 0) state.error = state.files.rename(state.path + ".next", state.path);
  if (state.error != 0) static_cast<void>(state.files.remove(state.path + ".next"));
}

// Reads the file twice: its contents are used only if the checksum of the whole file matches.
void read_usage(file::FileSystem& files, const std::string& directory, const std::function<void(const Used&)>& visit) {
  int error = 0;
  std::uint64_t bytes = 0;
  const auto file = files.open(directory + "/usage", file::Open::kRead, &error);
  if (!file || file->size(&bytes) != 0 || bytes > kMaxBytes || bytes < kUsageMagic.size() + sizeof(Key)) return;
  const std::uint64_t end = bytes - sizeof(Key);
  if ((end - kUsageMagic.size()) % kUsageEntryBytes != 0) return;
  std::vector<std::byte> buffer;
  Sha256 hash;
  const auto each_piece = [&](std::uint64_t begin, std::size_t most, const auto& use) {
    for (std::uint64_t at = begin; at < end; at += buffer.size()) {
      buffer.resize(std::min<std::uint64_t>(most, end - at));
      if (file::read_fully(*file, at, buffer) != 0) return false;
      use();
    }
    return true;
  };
  if (!each_piece(0, kBufferBytes, [&] { hash.add(buffer); })) return;
  Key stored;
  std::array<std::byte, kUsageMagic.size()> magic{};
  if (file::read_fully(*file, end, std::as_writable_bytes(std::span(stored.bytes))) != 0 || stored != hash.digest()) return;
  if (file::read_fully(*file, 0, magic) != 0 || std::memcmp(magic.data(), kUsageMagic.data(), magic.size()) != 0) return;
  static_cast<void>(each_piece(kUsageMagic.size(), kBufferBytes / kUsageEntryBytes * kUsageEntryBytes, [&] {
    for (std::size_t at = 0; at < buffer.size(); at += kUsageEntryBytes) {
      Used used;
      std::memcpy(used.key.bytes.data(), buffer.data() + at, sizeof(Key));
      std::memcpy(&used.hits, buffer.data() + at + sizeof(Key), sizeof used.hits);
      visit(used);
    }
  }));
}

Usage read_usage(file::FileSystem& files, const std::string& directory) {
  Usage usage;
  read_usage(files, directory, [&](const Used& used) { usage[used.key] = used.hits; });
  return usage;
}

}   // namespace tensorcache::disk
