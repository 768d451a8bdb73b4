// Segment files, of which only so many are open at a time: the least recently used is closed, and
// opened again when it is used.
//
// Threads: all members from any thread.
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
  // `most` is 1 at least.
  OpenFiles(std::shared_ptr<file::FileSystem> files, std::size_t most);
  // Opens a file now. Where the process may open no more, others are closed for it. Null with
  // *error set.
  [[nodiscard]] std::shared_ptr<file::File> open(const std::string& path, file::Open mode, int* error);
  // A file that closes `opened` when others need its place, and opens it again by its path. Stays
  // open while the caller holds `opened`.
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
