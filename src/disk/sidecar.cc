#include "disk/sidecar.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <sstream>
#include <vector>

namespace tensorcache::disk {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;
constexpr std::size_t kMostNameBytes = 200;
constexpr std::size_t kUsageEntryBytes = sizeof(Key) + sizeof(std::uint16_t);
constexpr std::string_view kUsageMagic = "TCUSAGE1";

std::vector<std::byte> read_file(FileSystem& files, const std::string& path) {
  int error = 0;
  std::uint64_t bytes = 0;
  const auto file = files.open(path, Open::kRead, &error);
  if (!file || file->size(&bytes) != 0 || bytes > kMostBytes) return {};
  std::vector<std::byte> content(bytes);
  return read_fully(*file, 0, content) == 0 ? content : std::vector<std::byte>();
}

// As a whole or not at all.
int replace_file(FileSystem& files, const std::string& path, std::span<const std::byte> content) {
  const std::string next = path + ".next";
  static_cast<void>(files.remove(next));
  int error = 0;
  const auto file = files.open(next, Open::kCreate, &error);
  if (!file) return error;
  if ((error = write_fully(*file, 0, content)) != 0) return error;
  return files.rename(next, path);
}

std::string printable(std::string name) {
  if (name.size() > kMostNameBytes) name.resize(kMostNameBytes);
  std::replace_if(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  return name;
}

}   // namespace

Names read_names(FileSystem& files, const std::string& directory) {
  const std::vector<std::byte> content = read_file(files, directory + "/names");
  std::istringstream lines(std::string(reinterpret_cast<const char*>(content.data()), content.size()));
  Names names;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(' '), second = line.find(' ', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(line.data() + first + 1, line.data() + second, number, 16);
    if (error != std::errc() || end != line.data() + second) continue;
    if (line.starts_with("owner ")) names.owners[number] = printable(line.substr(second + 1));
    if (line.starts_with("source ")) names.sources[number] = printable(line.substr(second + 1));
  }
  return names;
}

int write_names(FileSystem& files, const std::string& directory, const Names& names) {
  std::ostringstream text;
  text << std::hex;
  for (const auto& [number, name] : names.owners) text << "owner " << number << ' ' << printable(name) << '\n';
  for (const auto& [number, name] : names.sources) text << "source " << number << ' ' << printable(name) << '\n';
  const std::string content = text.str();
  return replace_file(files, directory + "/names", std::as_bytes(std::span(content)));
}

// Magic, then key and hits of each value, little endian. The whole file's key stands at its end.
Usage read_usage(FileSystem& files, const std::string& directory) {
  const std::vector<std::byte> content = read_file(files, directory + "/usage");
  Usage usage;
  if (content.size() < kUsageMagic.size() + sizeof(Key)) return usage;
  const auto body = std::span(content).first(content.size() - sizeof(Key));
  if (std::memcmp(body.data(), kUsageMagic.data(), kUsageMagic.size()) != 0 || (body.size() - kUsageMagic.size()) % kUsageEntryBytes != 0 ||
      std::memcmp(Key::of(body).bytes.data(), content.data() + body.size(), sizeof(Key)) != 0) {
    return usage;
  }
  for (std::size_t at = kUsageMagic.size(); at < body.size(); at += kUsageEntryBytes) {
    Key key;
    std::uint16_t hits = 0;
    std::memcpy(key.bytes.data(), body.data() + at, sizeof(Key));
    std::memcpy(&hits, body.data() + at + sizeof(Key), sizeof hits);
    usage[key] = hits;
  }
  return usage;
}

int write_usage(FileSystem& files, const std::string& directory, const Usage& usage) {
  std::vector<std::byte> content;
  const auto append = [&](const void* data, std::size_t bytes) {
    const auto* begin = static_cast<const std::byte*>(data);
    content.insert(content.end(), begin, begin + bytes);
  };
  append(kUsageMagic.data(), kUsageMagic.size());
  for (const auto& [key, hits] : usage) {
    append(key.bytes.data(), sizeof(Key));
    append(&hits, sizeof hits);
  }
  const Key whole = Key::of(content);
  append(whole.bytes.data(), sizeof(Key));
  return replace_file(files, directory + "/usage", content);
}

}   // namespace tensorcache::disk
