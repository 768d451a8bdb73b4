// Records the version at which each tag was invalidated, in memory and, with a disk tier, in the
// file `tags`.
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

// Threads: all members from any thread.
class Tags {
 public:
  // Called with the size that a file of ours may soon have, before it has it.
  using Account = std::function<void(const std::string& name, std::uint64_t bytes)>;
  Tags() = default;
  // Reads `directory`/tags, which need not be there. The file and its next version take an eighth
  // of `disk_bytes` at most, and 8 MiB.
  Tags(
      std::shared_ptr<file::FileSystem> files, const std::string& directory, std::uint64_t disk_bytes = UINT64_MAX,
      Account account = [](const std::string&, std::uint64_t) {});

  // What is of `version` or older is gone. False: it could not be written down.
  bool invalidate(const TagId& tag, std::uint64_t version);
  // The same for whatever has a tag.
  bool invalidate_all(std::uint64_t version);
  // What was noted there could not all be read: nobody knows what was invalidated before.
  [[nodiscard]] bool is_damaged() const { return damaged_; }
  // Whether one of its tags was invalidated since.
  [[nodiscard]] bool is_gone(const ValueHead& head) const;
  // The largest version in here.
  [[nodiscard]] std::uint64_t newest() const;
  // Tags that are told apart.
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
  std::uint64_t floor_ = 0;                // of whatever has a tag, what is so old is gone: stands for tags no longer in `epochs_`
  std::atomic<std::uint64_t> newest_{0};   // no tag at all was invalidated later

  std::mutex file_mutex_;                           // before mutex_
  const std::shared_ptr<file::FileSystem> files_;   // null: in memory only
  const std::string directory_, path_;
  const Account account_;
  // Of one generation of the file; then the older half of the tags is taken as one. Bounds memory
  // and the file.
  const std::size_t most_tags_ = kMaxTags;
  std::unique_ptr<file::File> file_;   // null: to be written whole
  std::uint64_t file_bytes_ = 0;
  bool damaged_ = false;
};

}   // namespace tensorcache::tensor
