// When the disk fails, when it works again, and whose the directory is.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "store/disk/disk_tier.h"

namespace tensorcache::disk {
void DiskTier::fail(const char* what, int error) {
  bool news = false;
  std::string reason = std::string(what) + ": " + std::strerror(error);
  {
    const MutexLock lock(mutex_);
    ++counters_.write_errors;
    news = health_.fail(reason, std::chrono::steady_clock::now());
    changed_.notify_all();
  }
  if (news) note(reason + "; nothing is written until it works again");
}

void DiskTier::heal() {
  int error = options_.files->make_directory(options_.directory);
  if (error == 0 && !owns_directory()) {
    lose_directory();
    lock_ = nullptr;
    lock_ = options_.files->lock(path_of("LOCK"), &error);
  }
  if (error != 0) {
    fail(error == EWOULDBLOCK ? "another process uses the directory" : "the directory cannot be used", error);
    return;
  }
  abandon_segment();
  if (!recovered_ && !recover()) return;
  if (log_.segment == 0) error = open_segment();   // recovery may have taken up the last one
  if (error != 0) {
    fail("a segment cannot be made", error);
    return;
  }
  {
    const MutexLock lock(mutex_);
    health_.heal();
  }
  note("works again");
}

bool DiskTier::owns_directory() const { return lock_ && lock_->is_at(path_of("LOCK")); }

// Somebody deleted the directory, and perhaps made another one in its place. Nothing in it is ours to touch any more, and our own files
// would go on taking room that nobody sees.
void DiskTier::lose_directory() {
  forget_directory();
  fail("the directory was deleted or replaced", ESTALE);
}

void DiskTier::look_after_directory() {
  if (!owns_directory()) lose_directory();
}

}   // namespace tensorcache::disk
