// Versions at which tags were invalidated, in memory and, with a disk tier, in the file `tags`.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/file/file.h"
#include "library/tensor/value_format.h"

namespace tensorcache::tensor {

// THREADS: all members from any thread.
class Tags {
 public:
  // Called with the file's next size before the file grows.
  using Account = std::function<void(const std::string& name, std::uint64_t bytes)>;
  Tags() = default;
  // Reads `directory`/tags, if it exists. The file and its next version take at most an eighth of
  // `disk_bytes`, and at most 8 MiB.
  Tags(
      std::shared_ptr<file::FileSystem> files, const std::string& directory, std::uint64_t disk_bytes = UINT64_MAX,
      Account account = [](const std::string&, std::uint64_t) {});

  // Invalidates tagged values up to and including `version`. RETURNS false if it could not be
  // persisted.
  bool invalidate(const TagId& tag, std::uint64_t version);
  // The same for all values with any tag.
  bool invalidate_all(std::uint64_t version);
  // RETURNS true if the file could not be read completely: earlier invalidations may be lost.
  [[nodiscard]] bool is_damaged() const { return damaged_; }
  // RETURNS true if one of the value's tags was invalidated after it.
  [[nodiscard]] bool is_gone(const ValueHead& head) const;
  // RETURNS the largest recorded version.
  [[nodiscard]] std::uint64_t newest() const;
  // RETURNS the number of tags recorded separately.
  [[nodiscard]] std::uint64_t count() const;

 private:
  struct Hash {
    std::size_t operator()(const TagId& tag) const { return tag.words[0]; }   // a digest is uniform
  };
  struct Record;
  static constexpr std::size_t kMaxTags = 1 << 16;
  void note_locked(const TagId& tag, std::uint64_t version);
  void forget_oldest_locked();
  void read();
  bool append(const TagId& tag, std::uint64_t version);
  [[nodiscard]] std::vector<Record> all_records() const;
  [[nodiscard]] bool write_anew(std::span<const Record> records);

  mutable std::shared_mutex mutex_;
  std::unordered_map<TagId, std::uint64_t, Hash> epochs_;
  std::uint64_t floor_ = 0;                // tagged values up to this version are invalid: covers tags merged out of `epochs_`
  std::atomic<std::uint64_t> newest_{0};   // version of the last invalidation of any tag

  std::mutex file_mutex_;                           // locked before mutex_
  const std::shared_ptr<file::FileSystem> files_;   // null: in memory only
  const std::string directory_, path_;
  const Account account_;
  // Records per generation of the file; beyond that the older half of the tags is merged. Bounds
  // memory and file size.
  const std::size_t max_tags_ = kMaxTags;
  std::unique_ptr<file::File> file_;   // null: to be rewritten
  std::uint64_t file_bytes_ = 0;
  bool damaged_ = false;
};

}   // namespace tensorcache::tensor
