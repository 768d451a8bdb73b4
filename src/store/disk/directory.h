// The tier's directory: its lock, and the paths of what is in it.
//
// THREADS: paths from any; the rest from the constructor's thread, then from
// the writing thread.
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

  // Makes it if need be, and takes its lock anew. RETURNS: an errno;
  // EWOULDBLOCK: another has it.
  [[nodiscard]] int make();
  [[nodiscard]] int lock();
  // Whether the lock that was taken is still the directory's: false once
  // somebody deleted or replaced it.
  [[nodiscard]] bool is_ours() const;
  // Leaves an empty file, which the next start takes for "drop the log". It
  // needs no room on the disk.
  [[nodiscard]] bool mark_stale();

 private:
  const std::string path_;
  const std::shared_ptr<file::FileSystem> files_;
  OpenFiles& open_files_;
  std::unique_ptr<file::File> lock_;
};

}   // namespace tensorcache::disk
