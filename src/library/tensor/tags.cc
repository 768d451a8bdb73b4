#include "library/tensor/tags.h"

#define XXH_INLINE_ALL   // header only: nothing to link
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

namespace tensorcache::tensor {
namespace {

constexpr TagId kEveryTag{{0, 0}};   // stands for floor_; no digest is all zeros
constexpr std::uint64_t kRecordBytes = 32;
constexpr std::uint64_t kGenerations = 2;          // the file is rewritten when it has this many times the live records
constexpr std::uint64_t kMaxFileBytes = 8 << 20;   // a larger file is not ours
constexpr std::uint64_t kDiskShare = 8;            // the file and its next version take at most this part of the disk
constexpr std::uint64_t kAheadBytes = 64 << 10;    // charged in advance of writing
constexpr std::size_t kMinTags = 256;

}   // namespace

// The file is a sequence of these. The last one may be torn; its writer was not told that it
// succeeded.
struct Tags::Record {
  TagId tag;
  std::uint64_t version, checksum;
  [[nodiscard]] std::uint64_t expected() const {
    static_assert(sizeof(Record) == kRecordBytes);
    return XXH3_64bits(this, offsetof(Record, checksum));
  }
};

Tags::Tags(std::shared_ptr<file::FileSystem> files, const std::string& directory, std::uint64_t disk_bytes, Account account)
    : files_(std::move(files)),
      directory_(directory),
      path_(directory + "/tags"),
      account_(std::move(account)),
      max_tags_(std::clamp<std::size_t>(disk_bytes / kDiskShare / (kGenerations + 1) / kRecordBytes, kMinTags, kMaxTags)) {
  read();
}

void Tags::read() {
  int error = 0;
  std::uint64_t bytes = 0;
  const auto file = files_->open(path_, file::Open::kRead, &error);
  if (!file && error == ENOENT) return;
  damaged_ = !file || file->size(&bytes) != 0 || bytes > kMaxFileBytes;
  if (damaged_) return;
  std::vector<Record> records(bytes / sizeof(Record));
  damaged_ = file::read_fully(*file, 0, std::as_writable_bytes(std::span(records))) != 0;
  if (damaged_) return;
  const bool ends_torn = bytes % sizeof(Record) != 0;
  for (const Record& record : records) {
    if (record.checksum == record.expected()) {
      note_locked(record.tag, record.version);
    } else {
      damaged_ = damaged_ || ends_torn || &record != &records.back();
    }
  }
}

void Tags::note_locked(const TagId& tag, std::uint64_t version) {
  std::uint64_t& epoch = tag == kEveryTag ? floor_ : epochs_[tag];
  epoch = std::max(epoch, version);
  newest_ = std::max(newest_.load(), version);
  if (epochs_.size() > max_tags_) forget_oldest_locked();
}

void Tags::forget_oldest_locked() {
  std::vector<std::uint64_t> versions;
  versions.reserve(epochs_.size());
  for (const auto& [tag, version] : epochs_) versions.push_back(version);
  const auto middle = versions.begin() + static_cast<std::ptrdiff_t>(versions.size() / 2);
  std::nth_element(versions.begin(), middle, versions.end());
  floor_ = std::max(floor_, *middle);
  std::erase_if(epochs_, [&](const auto& entry) { return entry.second <= floor_; });
  file_bytes_ = UINT64_MAX;   // to be rewritten
}

bool Tags::invalidate(const TagId& tag, std::uint64_t version) {
  const std::lock_guard file_lock(file_mutex_);
  {
    const std::unique_lock lock(mutex_);
    note_locked(tag, version);
  }
  return !files_ || append(tag, version);
}

bool Tags::invalidate_all(std::uint64_t version) { return invalidate(kEveryTag, version); }

std::vector<Tags::Record> Tags::all_records() const {
  const std::shared_lock lock(mutex_);
  std::vector<Record> records{{kEveryTag, floor_, 0}};
  records.reserve(1 + epochs_.size());
  for (const auto& [known, epoch] : epochs_) records.push_back({known, epoch, 0});
  return records;
}

bool Tags::append(const TagId& tag, std::uint64_t version) {
  const bool whole = !file_ || file_bytes_ > kGenerations * max_tags_ * kRecordBytes;
  std::vector<Record> records = whole ? all_records() : std::vector<Record>{{tag, version, 0}};
  for (Record& record : records) record.checksum = record.expected();
  const auto bytes = std::as_bytes(std::span(records));
  const std::uint64_t before = whole ? 0 : file_bytes_;
  account_(whole ? "tags.next" : "tags", (before + bytes.size() + kAheadBytes) / kAheadBytes * kAheadBytes);
  const bool written = whole ? write_anew(records) : file::write_fully(*file_, before, bytes) == 0 && file_->sync() == 0;
  if (written) {
    file_bytes_ = before + bytes.size();
  } else {
    file_.reset();
  }
  return written;
}

bool Tags::write_anew(std::span<const Record> records) {
  file_.reset();   // even if the rest runs out of memory
  const std::string next = path_ + ".next";
  static_cast<void>(files_->remove(next));
  int error = 0;
  std::unique_ptr<file::File> file = files_->open(next, file::Open::kCreate, &error);
  if (!file || file::write_fully(*file, 0, std::as_bytes(records)) != 0 || file->sync() != 0 || files_->rename(next, path_) != 0 ||
      files_->sync_directory(directory_) != 0) {
    return false;
  }
  file_ = std::move(file);
  return true;
}

bool Tags::is_gone(const ValueHead& head) const {
  if (head.tags.empty() || head.as_of > newest_.load(std::memory_order_acquire)) return false;
  const std::shared_lock lock(mutex_);
  if (head.as_of <= floor_) return true;
  return std::any_of(head.tags.begin(), head.tags.end(), [&](const TagId& tag) {
    const auto found = epochs_.find(tag);
    return found != epochs_.end() && head.as_of <= found->second;
  });
}

std::uint64_t Tags::newest() const { return newest_.load(); }

std::uint64_t Tags::count() const {
  const std::shared_lock lock(mutex_);
  return epochs_.size();
}

}   // namespace tensorcache::tensor
