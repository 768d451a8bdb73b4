// Limits the number of open segment files: closes the least recently used one, and reopens it on
// use.
//
// THREADS: all members from any thread.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "base/core/mutex.h"
#include "base/file/file.h"

namespace tensorcache::disk {

class OpenFiles {
 public:
  // REQUIRES: `most` >= 1.
  OpenFiles(std::shared_ptr<file::FileSystem> files, std::size_t most);
  // Opens a file now; closes others if the process's limit is reached. RETURNS null with *error set
  // on failure.
  [[nodiscard]] std::shared_ptr<file::File> open(const std::string& path, file::Open mode, int* error);
  // RETURNS a file that may close `opened` when others need its place, and reopens it by its path.
  // It stays open while the caller holds `opened`.
  [[nodiscard]] std::shared_ptr<file::File> share(const std::string& path, std::shared_ptr<file::File> opened);
  [[nodiscard]] std::size_t open_count() const;

 private:
  class Shared;
  struct State {
    std::shared_ptr<file::FileSystem> files;
    std::size_t most;
    mutable Mutex mutex;
    std::list<Shared*> open TC_GUARDED_BY(mutex);   // most recently used first
    [[nodiscard]] bool close_one_locked(std::shared_ptr<file::File>* closed) TC_REQUIRES(mutex);
    [[nodiscard]] std::shared_ptr<file::File> open_file(const std::string& path, file::Open mode, int* error);
  };
  const std::shared_ptr<State> state_;
};

}   // namespace tensorcache::disk
