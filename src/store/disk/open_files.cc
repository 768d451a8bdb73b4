#include "store/disk/open_files.h"

#include <cerrno>
#include <utility>

namespace tensorcache::disk {

class OpenFiles::Shared final : public file::File {
 public:
  Shared(std::shared_ptr<State> state, std::string path) : state_(std::move(state)), path_(std::move(path)) { place_.push_back(this); }
  ~Shared() override {
    const MutexLock lock(state_->mutex);
    if (file_) place_.splice(place_.begin(), state_->open, at_);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  file::Transfer read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) override {
    int error = 0;
    const std::shared_ptr<file::File> file = use(&error);
    return file ? file->read(offset, parts) : file::Transfer{0, error};
  }
  file::Transfer write(std::uint64_t offset, std::span<const std::span<const std::byte>> parts) override {
    int error = 0;
    const std::shared_ptr<file::File> file = use(&error);
    return file ? file->write(offset, parts) : file::Transfer{0, error};
  }
  int sync() override {
    int error = 0;
    const std::shared_ptr<file::File> file = use(&error);
    return file ? file->sync() : error;
  }
  int truncate(std::uint64_t bytes) override {
    int error = 0;
    const std::shared_ptr<file::File> file = use(&error);
    return file ? file->truncate(bytes) : error;
  }
  int size(std::uint64_t* bytes) override {
    int error = 0;
    const std::shared_ptr<file::File> file = use(&error);
    return file ? file->size(bytes) : error;
  }
  void will_need(std::uint64_t offset, std::uint64_t bytes) override {
    int error = 0;
    if (const std::shared_ptr<file::File> file = use(&error)) file->will_need(offset, bytes);
  }
  bool is_at(const std::string& path) override {
    int error = 0;
    const std::shared_ptr<file::File> file = use(&error);
    return file && file->is_at(path);
  }

  void set(std::shared_ptr<file::File> file) {
    std::shared_ptr<file::File> closed[2];   // closed after the mutex is released
    const MutexLock lock(state_->mutex);
    if (file_) return;
    for (std::shared_ptr<file::File>& each : closed) {
      if (state_->open.size() >= state_->most) static_cast<void>(state_->close_one_locked(&each));
    }
    file_ = std::move(file);
    at_ = place_.begin();
    state_->open.splice(state_->open.begin(), place_);
  }

 private:
  friend struct OpenFiles::State;

  std::shared_ptr<file::File> use(int* error) {
    {
      const MutexLock lock(state_->mutex);
      if (file_) {
        state_->open.splice(state_->open.begin(), state_->open, at_);
        return file_;
      }
    }
    std::shared_ptr<file::File> opened = state_->open_file(path_, file::Open::kWrite, error);
    if (opened) set(opened);
    return opened;
  }

  const std::shared_ptr<State> state_;
  const std::string path_;
  std::shared_ptr<file::File> file_ TC_GUARDED_BY(state_->mutex);
  std::list<Shared*> place_ TC_GUARDED_BY(state_->mutex);   // this file, while it is not in State::open
  std::list<Shared*>::iterator at_ TC_GUARDED_BY(state_->mutex);
};

// Closes the least recently used file that is not in use.
bool OpenFiles::State::close_one_locked(std::shared_ptr<file::File>* closed) {
  for (auto each = open.rbegin(); each != open.rend(); ++each) {
    Shared& file = **each;
    file.state_->mutex.assert_held();   // all files share this mutex
    if (file.file_.use_count() > 1) continue;
    *closed = std::move(file.file_);
    file.file_ = nullptr;
    file.place_.splice(file.place_.begin(), open, file.at_);
    return true;
  }
  return false;
}

std::shared_ptr<file::File> OpenFiles::State::open_file(const std::string& path, file::Open mode, int* error) {
  for (;;) {
    std::shared_ptr<file::File> opened = files->open(path, mode, error);
    if (opened || (*error != EMFILE && *error != ENFILE)) return opened;
    std::shared_ptr<file::File> closed;
    const MutexLock lock(mutex);
    if (!close_one_locked(&closed)) return nullptr;
  }
}

OpenFiles::OpenFiles(std::shared_ptr<file::FileSystem> files, std::size_t most) : state_(std::make_shared<State>()) {
  state_->files = std::move(files);
  state_->most = most;
}

std::shared_ptr<file::File> OpenFiles::open(const std::string& path, file::Open mode, int* error) { return state_->open_file(path, mode, error); }

std::shared_ptr<file::File> OpenFiles::share(const std::string& path, std::shared_ptr<file::File> opened) {
  auto shared = std::make_shared<Shared>(state_, path);
  shared->set(std::move(opened));
  return shared;
}

std::size_t OpenFiles::open_count() const {
  const MutexLock lock(state_->mutex);
  return state_->open.size();
}

}   // namespace tensorcache::disk
