// Which tags were invalidated when: a version per tag, in memory and, where there is a disk, in the file `tags` beside the log.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include "disk/file.h"
#include "tensor/value_format.h"

namespace tensorcache::tensor {

// Threads: all members from any thread.
class Tags {
 public:
  Tags() = default;
  // Reads `directory`/tags, which need not be there.
  Tags(std::shared_ptr<disk::FileSystem> files, const std::string& directory);

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

 private:
  struct Hash {
    std::size_t operator()(const TagId& tag) const { return tag.words[0]; }   // a digest is uniform
  };
  struct Record;
  void note_locked(const TagId& tag, std::uint64_t version);
  void forget_oldest_locked();
  void read();
  bool append(const TagId& tag, std::uint64_t version);

  mutable std::shared_mutex mutex_;
  std::unordered_map<TagId, std::uint64_t, Hash> epochs_;
  std::uint64_t floor_ = 0;                // of whatever has a tag, what is so old is gone: stands for tags no longer in `epochs_`
  std::atomic<std::uint64_t> newest_{0};   // no tag at all was invalidated later

  std::mutex file_mutex_;                           // before mutex_
  const std::shared_ptr<disk::FileSystem> files_;   // null: in memory only
  const std::string path_;
  std::unique_ptr<disk::File> file_;   // null: to be written whole
  std::uint64_t file_bytes_ = 0;
  bool damaged_ = false;
};

}   // namespace tensorcache::tensor
