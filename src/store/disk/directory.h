// The tier's directory: its lock and its paths.
//
// THREADS: paths from any thread; other members from the constructor's thread, then from the
// writing thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/file/file.h"
#include "store/disk/open_files.h"

namespace tensorcache::disk {

class Directory {
 public:
  Directory(std::string path, std::shared_ptr<file::FileSystem> files, OpenFiles& open_files);
  [[nodiscard]] std::string path_of(std::uint64_t segment) const;
  [[nodiscard]] std::string path_of(const char* name) const;

  // Creates the directory if needed and takes its lock anew. RETURNS: an errno; EWOULDBLOCK if
  // another process holds the lock.
  [[nodiscard]] int make();
  [[nodiscard]] int lock();
  // RETURNS false once the directory or its lock file was deleted or replaced.
  [[nodiscard]] bool is_ours() const;
  // Creates an empty file that tells the next start to drop the log. Needs no space on the disk.
  [[nodiscard]] bool mark_stale();

 private:
  const std::string path_;
  const std::shared_ptr<file::FileSystem> files_;
  OpenFiles& open_files_;
  std::unique_ptr<file::File> lock_;
};

}   // namespace tensorcache::disk
