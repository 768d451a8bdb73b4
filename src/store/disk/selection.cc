#include "store/disk/selection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace tensorcache::disk {
namespace {

constexpr std::string_view kMagic = "TCWIPE01";
constexpr std::uint64_t kOwner = 1, kSource = 2, kUntil = 4, kChained = 8, kKnown = 15;
constexpr std::size_t kWipeWords = 8, kHeadBytes = 16, kSumBytes = 8;
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;

std::uint64_t checksum(std::span<const std::byte> bytes) { return payload_checksum(bytes, {}, 0); }

template <class T>
void put(std::vector<std::byte>& bytes, const T& value) {
  const auto* begin = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof value);
}

template <class T>
T get(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}   // namespace

bool Selected::matches(std::uint64_t of_owner, std::uint64_t of_source, std::int64_t created_unix_ms, const Key& key) const {
  if (owner && *owner != of_owner) return false;
  if (source && *source != of_source) return false;
  if (until_unix_ms && *until_unix_ms < created_unix_ms) return false;
  return keys.empty() || std::binary_search(keys.begin(), keys.end(), key);
}

std::vector<std::byte> encode_wipes(const std::vector<Wipe>& wipes) {
  std::vector<std::byte> bytes;
  for (const char c : kMagic) put(bytes, c);
  put(bytes, std::uint64_t{wipes.size()});
  for (const Wipe& wipe : wipes) {
    const Selected& what = wipe.what;
    put(bytes, (what.owner ? kOwner : 0) | (what.source ? kSource : 0) | (what.until_unix_ms ? kUntil : 0) | (wipe.chained ? kChained : 0));
    put(bytes, what.owner.value_or(0));
    put(bytes, what.source.value_or(0));
    put(bytes, what.until_unix_ms.value_or(0));
    put(bytes, wipe.before.segment);
    put(bytes, wipe.before.offset);
    put(bytes, std::uint64_t{what.keys.size()});
    put(bytes, std::uint64_t{0});
    for (const Key& key : what.keys) put(bytes, key.bytes);
  }
  put(bytes, checksum(bytes));
  return bytes;
}

std::optional<std::vector<Wipe>> decode_wipes(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeadBytes + kSumBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) return std::nullopt;
  const auto content = bytes.first(bytes.size() - kSumBytes);
  if (get<std::uint64_t>(bytes, content.size()) != checksum(content)) return std::nullopt;
  std::vector<Wipe> wipes;
  std::size_t at = kHeadBytes;
  for (auto left = get<std::uint64_t>(content, kMagic.size()); left > 0; --left) {
    if (content.size() - at < kWipeWords * sizeof(std::uint64_t)) return std::nullopt;
    const auto word = [&](std::size_t i) { return get<std::uint64_t>(content, at + i * sizeof(std::uint64_t)); };
    const std::uint64_t flags = word(0), keys = word(6);
    if ((flags & ~kKnown) != 0) return std::nullopt;
    Wipe wipe;
    if ((flags & kOwner) != 0) wipe.what.owner = word(1);
    if ((flags & kSource) != 0) wipe.what.source = word(2);
    if ((flags & kUntil) != 0) wipe.what.until_unix_ms = static_cast<std::int64_t>(word(3));
    wipe.before = {word(4), word(5)};
    wipe.chained = (flags & kChained) != 0;
    at += kWipeWords * sizeof(std::uint64_t);
    if (keys > (content.size() - at) / sizeof(Key)) return std::nullopt;
    wipe.what.keys.resize(keys);
    for (Key& key : wipe.what.keys) {
      key.bytes = get<decltype(Key::bytes)>(content, at);
      at += sizeof(Key);
    }
    if (!std::is_sorted(wipe.what.keys.begin(), wipe.what.keys.end())) return std::nullopt;
    wipes.push_back(std::move(wipe));
  }
  return at == content.size() ? std::optional(std::move(wipes)) : std::nullopt;
}

WipesRead read_wipes(file::FileSystem& files, const std::string& directory, std::vector<Wipe>* wipes, int* error) {
  wipes->clear();
  const auto file = files.open(directory + "/" + kWipesFile, file::Open::kRead, error);
  if (!file) {
    const bool none = *error == ENOENT;
    if (none) *error = 0;
    return none ? WipesRead::kGood : WipesRead::kFailed;
  }
  std::uint64_t size = 0;
  if ((*error = file->size(&size)) != 0) return WipesRead::kFailed;
  if (size > kMaxBytes) return WipesRead::kDamaged;
  std::vector<std::byte> bytes(size);
  *error = file::read_fully(*file, 0, bytes);
  if (*error == file::kEndOfFile) return WipesRead::kDamaged;
  if (*error != 0) return WipesRead::kFailed;
  auto decoded = decode_wipes(bytes);
  if (!decoded) return WipesRead::kDamaged;
  *wipes = *std::move(decoded);
  return WipesRead::kGood;
}

int write_wipes(file::FileSystem& files, const std::string& directory, const std::vector<Wipe>& wipes) {
  const std::string path = directory + "/" + kWipesFile, next = path + ".next";
  int error = 0;
  if (wipes.empty()) {
    error = files.remove(path);
    if (error == ENOENT) error = 0;
    return error != 0 ? error : files.sync_directory(directory);
  }
  const std::vector<std::byte> bytes = encode_wipes(wipes);
  static_cast<void>(files.remove(next));
  {
    const auto file = files.open(next, file::Open::kCreate, &error);
    if (!file) return error;
    error = file::write_fully(*file, 0, bytes);
    if (error == 0) error = file->sync();
  }
  if (error == 0) error = files.rename(next, path);
  if (error != 0) {
    static_cast<void>(files.remove(next));
    return error;
  }
  return files.sync_directory(directory);
}

}   // namespace tensorcache::disk
