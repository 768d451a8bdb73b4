#include "store/disk/directory.h"

#include <cerrno>
#include <utility>

#include "store/disk/format.h"

namespace tensorcache::disk {

Directory::Directory(std::string path, std::shared_ptr<file::FileSystem> files, OpenFiles& open_files)
    : path_(std::move(path)), files_(std::move(files)), open_files_(open_files) {}

std::string Directory::path_of(std::uint64_t segment) const { return path_ + "/" + segment_name(segment); }
std::string Directory::path_of(const char* name) const { return path_ + "/" + name; }

int Directory::make() { return files_->make_directory(path_); }

int Directory::lock() {
  int error = 0;
  lock_ = nullptr;
  lock_ = files_->lock(path_of("LOCK"), &error);
  return error;
}

bool Directory::is_ours() const { return lock_ && lock_->is_at(path_of("LOCK")); }

bool Directory::mark_stale() {
  if (!is_ours() && files_->exists(path_of("LOCK"))) return true;   // another cache owns the directory
  int error = 0;
  const std::shared_ptr<file::File> mark = open_files_.open(path_of("stale"), file::Open::kCreate, &error);
  return (mark || error == EEXIST) && files_->sync_directory(path_) == 0;
}

}   // namespace tensorcache::disk
