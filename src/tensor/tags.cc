#include "tensor/tags.h"

#define XXH_INLINE_ALL   // header only: nothing to link
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

namespace tensorcache::tensor {
namespace {

// So many tags are told apart; then the older half of them is taken as one. Bounds memory and the file.
constexpr std::size_t kMostEpochs = 1 << 16;
constexpr TagId kEveryTag{{0, 0}};   // stands for the floor. A digest is not all zeros
constexpr std::uint64_t kRecordBytes = 32;
constexpr std::uint64_t kWholeAgainBytes = 2 * kMostEpochs * kRecordBytes;   // from there on the file is written anew
constexpr std::uint64_t kMostFileBytes = 2 * kWholeAgainBytes;               // a larger one is not ours

}   // namespace

// The file is a row of these. The last may be torn: then whoever wrote it was not told that it is there.
struct Tags::Record {
  TagId tag;
  std::uint64_t version, checksum;
  [[nodiscard]] std::uint64_t expected() const {
    static_assert(sizeof(Record) == kRecordBytes);
    return XXH3_64bits(this, offsetof(Record, checksum));
  }
};

Tags::Tags(std::shared_ptr<disk::FileSystem> files, const std::string& directory) : files_(std::move(files)), path_(directory + "/tags") { read(); }

void Tags::read() {
  int error = 0;
  std::uint64_t bytes = 0;
  const auto file = files_->open(path_, disk::Open::kRead, &error);
  if (!file && error == ENOENT) return;
  damaged_ = !file || file->size(&bytes) != 0 || bytes > kMostFileBytes;
  if (damaged_) return;
  std::vector<Record> records(bytes / sizeof(Record));
  damaged_ = disk::read_fully(*file, 0, std::as_writable_bytes(std::span(records))) != 0;
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
  if (epochs_.size() > kMostEpochs) forget_oldest_locked();
}

void Tags::forget_oldest_locked() {
  std::vector<std::uint64_t> versions;
  versions.reserve(epochs_.size());
  for (const auto& [tag, version] : epochs_) versions.push_back(version);
  const auto middle = versions.begin() + static_cast<std::ptrdiff_t>(versions.size() / 2);
  std::nth_element(versions.begin(), middle, versions.end());
  floor_ = std::max(floor_, *middle);
  std::erase_if(epochs_, [&](const auto& entry) { return entry.second <= floor_; });
  file_bytes_ = UINT64_MAX;   // to be written anew
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

bool Tags::append(const TagId& tag, std::uint64_t version) {
  const bool whole = !file_ || file_bytes_ > kWholeAgainBytes;
  std::vector<Record> records;
  if (whole) {
    const std::shared_lock lock(mutex_);
    records.push_back({kEveryTag, floor_, 0});
    for (const auto& [known, epoch] : epochs_) records.push_back({known, epoch, 0});
  } else {
    records.push_back({tag, version, 0});
  }
  for (Record& record : records) record.checksum = record.expected();
  const std::string next = path_ + ".next";
  int error = 0;
  if (whole) {
    static_cast<void>(files_->remove(next));
    file_ = files_->open(next, disk::Open::kCreate, &error);
    file_bytes_ = 0;
  }
  const auto bytes = std::as_bytes(std::span(records));
  if (!file_ || disk::write_fully(*file_, file_bytes_, bytes) != 0 || file_->sync() != 0 || (whole && files_->rename(next, path_) != 0) ||
      (whole && files_->sync_directory(path_.substr(0, path_.rfind('/'))) != 0)) {
    file_.reset();
    return false;
  }
  file_bytes_ += bytes.size();
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

}   // namespace tensorcache::tensor
