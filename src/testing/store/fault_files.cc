#include "testing/store/fault_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

namespace tensorcache::testing {
namespace {

constexpr std::size_t kSector = 512;

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

}   // namespace

class FaultFiles::Opened final : public file::File {
 public:
  // With the file system's mutex held.
  Opened(std::shared_ptr<FaultFiles> files, std::shared_ptr<Node> node) : files_(std::move(files)), node_(std::move(node)) { ++files_->open_; }
  ~Opened() override {
    const auto delay = std::chrono::milliseconds(files_->close_delay_ms_.load());
    bool named = false;
    {
      const std::lock_guard lock(files_->mutex_);
      --files_->open_;
      if (delay.count() == 0) return;
      for (const auto& [name, node] : files_->names_) named = named || node == node_;
    }
    if (named) return;
    ++files_->delayed_closes_begun_;
    std::this_thread::sleep_for(delay);
    ++files_->delayed_closes_ended_;
  }

  file::Transfer read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) override {
    const file::Transfer transfer = read_now(offset, parts);
    // With what was there before the wait.
    std::this_thread::sleep_for(std::chrono::milliseconds(files_->read_delay_ms_.load()));
    std::unique_lock lock(files_->mutex_);
    ++files_->held_reads_;
    files_->let_go_on_.wait(lock, [&] { return !files_->hold_reads_; });
    --files_->held_reads_;
    return transfer;
  }
  file::Transfer read_now(std::uint64_t offset, std::span<const std::span<std::byte>> parts) {
    const std::lock_guard lock(files_->mutex_);
    if (const int error = files_->fault(kRead)) return {0, error};
    std::size_t left = offset < node_->now.size() ? node_->now.size() - offset : 0, done = 0;
    if (files_->short_ && left > 1) left = 1 + files_->random_() % left;
    for (const auto& part : parts) {
      const std::size_t count = std::min(part.size(), left);
      if (count > 0) std::memcpy(part.data(), node_->now.data() + offset + done, count);
      done += count;
      left -= count;
    }
    return {done, 0};
  }

  file::Transfer write(std::uint64_t offset, std::span<const std::span<const std::byte>> parts) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(files_->write_delay_ms_.load()));
    std::unique_lock lock(files_->mutex_);
    ++files_->held_writes_;
    files_->let_go_on_.wait(lock, [&] { return !files_->hold_writes_; });
    --files_->held_writes_;
    if (const int error = files_->fault(kWrite)) return {0, error};
    std::vector<std::byte> bytes;
    for (const auto& part : parts) bytes.insert(bytes.end(), part.begin(), part.end());
    if (files_->short_ && bytes.size() > 1) bytes.resize(1 + files_->random_() % bytes.size());
    if (files_->room_ > 0) {
      std::uint64_t used = 0;
      for (const auto& [name, node] : files_->names_) used += node->now.size();
      const std::uint64_t grows = offset + bytes.size() > node_->now.size() ? offset + bytes.size() - node_->now.size() : 0;
      if (used + grows > files_->room_) {
        const std::uint64_t fits = files_->room_ > used ? bytes.size() - (used + grows - files_->room_) : 0;
        ++files_->faults_;
        if (fits == 0 || fits > bytes.size()) return {0, ENOSPC};
        bytes.resize(fits);
      }
    }
    if (offset + bytes.size() > node_->now.size()) node_->now.resize(offset + bytes.size());
    if (!bytes.empty()) std::memcpy(node_->now.data() + offset, bytes.data(), bytes.size());
    const std::size_t count = bytes.size();
    node_->unsynced.push_back({offset, std::move(bytes), false});
    std::uint64_t used = 0;
    for (const auto& [name, node] : files_->names_) used += node->now.size();
    files_->peak_ = std::max(files_->peak_, used);
    return {count, 0};
  }

  int sync() override {
    const std::lock_guard lock(files_->mutex_);
    if (const int error = files_->fault(kSync)) {
      node_->unsynced.clear();   // as Linux has it: the pages are clean now, and their bytes may be lost
      return error;
    }
    node_->durable = node_->now;
    node_->unsynced.clear();
    return 0;
  }
  int truncate(std::uint64_t bytes) override {
    const std::lock_guard lock(files_->mutex_);
    if (const int error = files_->fault(kWrite)) return error;
    node_->now.resize(bytes);
    node_->unsynced.push_back({bytes, {}, true});
    return 0;
  }
  int size(std::uint64_t* bytes) override {
    const std::lock_guard lock(files_->mutex_);
    if (const int error = files_->fault(kRead)) return error;
    *bytes = node_->now.size();
    return 0;
  }
  void will_need(std::uint64_t, std::uint64_t) override {}
  bool is_at(const std::string& path) override {
    const std::lock_guard lock(files_->mutex_);
    const auto named = files_->names_.find(path);
    return named != files_->names_.end() && named->second == node_;
  }

 private:
  const std::shared_ptr<FaultFiles> files_;
  const std::shared_ptr<Node> node_;
};

class FaultFiles::Lock final : public file::File {
 public:
  Lock(std::shared_ptr<FaultFiles> files, std::shared_ptr<Node> node) : files_(std::move(files)), node_(std::move(node)) {}
  ~Lock() override {
    const std::lock_guard lock(files_->mutex_);
    files_->locked_.erase(node_);
  }
  file::Transfer read(std::uint64_t, std::span<const std::span<std::byte>>) override { return {0, EIO}; }
  file::Transfer write(std::uint64_t, std::span<const std::span<const std::byte>>) override { return {0, EIO}; }
  int sync() override { return EIO; }
  int truncate(std::uint64_t) override { return EIO; }
  int size(std::uint64_t*) override { return EIO; }
  void will_need(std::uint64_t, std::uint64_t) override {}
  bool is_at(const std::string& path) override {
    const std::lock_guard lock(files_->mutex_);
    const auto named = files_->names_.find(path);
    return named != files_->names_.end() && named->second == node_;
  }

 private:
  const std::shared_ptr<FaultFiles> files_;
  const std::shared_ptr<Node> node_;
};

int FaultFiles::fault(Call kind) {
  if ((kinds_ & kind) == 0) return 0;
  ++calls_;
  if (fail_at_ == 0 || (all_after_ ? calls_ < fail_at_ : calls_ != fail_at_)) return 0;
  ++faults_;
  return error_;
}

void FaultFiles::fail_call(unsigned kinds, std::uint64_t n, int error, bool and_all_after) {
  const std::lock_guard lock(mutex_);
  kinds_ = kinds;
  fail_at_ = n;
  error_ = error;
  all_after_ = and_all_after;
  calls_ = 0;
}

void FaultFiles::hold_reads(bool on) {
  const std::lock_guard lock(mutex_);
  hold_reads_ = on;
  let_go_on_.notify_all();
}

std::size_t FaultFiles::held_reads() const {
  const std::lock_guard lock(mutex_);
  return held_reads_;
}

void FaultFiles::hold_writes(bool on) {
  const std::lock_guard lock(mutex_);
  hold_writes_ = on;
  let_go_on_.notify_all();
}

std::size_t FaultFiles::held_writes() const {
  const std::lock_guard lock(mutex_);
  return held_writes_;
}

void FaultFiles::short_transfers(bool on) {
  const std::lock_guard lock(mutex_);
  short_ = on;
}

void FaultFiles::set_room(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  room_ = bytes;
}

std::uint64_t FaultFiles::peak_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

std::size_t FaultFiles::max_open_files() {
  const std::lock_guard lock(mutex_);
  return most_open_;
}

std::uint64_t FaultFiles::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}
std::uint64_t FaultFiles::faults() const {
  const std::lock_guard lock(mutex_);
  return faults_;
}

std::unique_ptr<file::File> FaultFiles::open(const std::string& path, file::Open mode, int* error) {
  const std::lock_guard lock(mutex_);
  *error = fault(kOpen);
  if (*error == 0 && open_ >= descriptors_) *error = EMFILE;
  if (*error != 0) return nullptr;
  const auto known = names_.find(path);
  if (mode == file::Open::kCreate) {
    *error = !directory_ ? ENOENT : known != names_.end() ? EEXIST : 0;
    if (*error != 0) return nullptr;
    return std::make_unique<Opened>(shared_from_this(), names_[path] = std::make_shared<Node>());
  }
  *error = known == names_.end() ? ENOENT : 0;
  return *error != 0 ? nullptr : std::make_unique<Opened>(shared_from_this(), known->second);
}

std::unique_ptr<file::File> FaultFiles::lock(const std::string& path, int* error) {
  const std::lock_guard lock(mutex_);
  *error = fault(kOpen);
  if (*error == 0 && !directory_) *error = ENOENT;
  if (*error != 0) return nullptr;
  const std::shared_ptr<Node> node = names_.try_emplace(path, std::make_shared<Node>()).first->second;
  if (!locked_.insert(node).second) *error = EWOULDBLOCK;
  return *error != 0 ? nullptr : std::make_unique<Lock>(shared_from_this(), node);
}

int FaultFiles::list(const std::string& directory, std::vector<std::string>* names) {
  const std::lock_guard lock(mutex_);
  if (const int error = fault(kNames)) return error;
  names->clear();
  for (const auto& [path, node] : names_) {
    if (folder_of(path) == directory) names->push_back(path.substr(directory.size() + 1));
  }
  return directory_ ? 0 : ENOENT;
}

int FaultFiles::remove(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (const int error = fault(kNames)) return error;
  return names_.erase(path) == 1 ? 0 : ENOENT;
}

int FaultFiles::rename(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  if (const int error = fault(kNames)) return error;
  const auto node = names_.find(from);
  if (node == names_.end()) return ENOENT;
  names_[to] = node->second;
  names_.erase(from);
  return 0;
}

int FaultFiles::make_directory(const std::string&) {
  const std::lock_guard lock(mutex_);
  if (const int error = fault(kNames)) return error;
  directory_ = true;
  return 0;
}

int FaultFiles::sync_directory(const std::string&) {
  const std::lock_guard lock(mutex_);
  if (const int error = fault(kSync)) return error;
  durable_names_ = names_;
  return 0;
}

int FaultFiles::size_of(const std::string& path, std::uint64_t* bytes) {
  const std::lock_guard lock(mutex_);
  if (const int error = fault(kNames)) return error;
  const auto node = names_.find(path);
  if (node == names_.end()) return ENOENT;
  *bytes = node->second->now.size();
  return 0;
}

void FaultFiles::set_descriptors(std::size_t most, std::size_t of_a_cache) {
  const std::lock_guard lock(mutex_);
  descriptors_ = most;
  most_open_ = of_a_cache;
}

std::size_t FaultFiles::open_files() const {
  const std::lock_guard lock(mutex_);
  return open_;
}

bool FaultFiles::exists(const std::string& path) {
  const std::lock_guard lock(mutex_);
  return names_.contains(path);
}

std::shared_ptr<FaultFiles> FaultFiles::after_power_cut(std::uint64_t seed) const {
  const std::lock_guard lock(mutex_);
  std::mt19937_64 random(seed);
  const auto perhaps = [&] { return random() % 2 == 0; };
  std::map<std::string, std::shared_ptr<Node>> left;
  for (const auto& [path, node] : names_) {
    if (durable_names_.contains(path) || perhaps()) left[path] = node;
  }
  for (const auto& [path, node] : durable_names_) {
    if (!names_.contains(path) && perhaps()) left[path] = node;   // its removal was lost
  }
  std::map<std::string, std::vector<std::byte>> contents;
  for (const auto& [path, node] : left) contents[path] = torn(*node, random);
  auto files = std::make_shared<FaultFiles>();
  files->set_contents(contents);
  return files;
}

// What was synced, and all, none or some of the sectors written since.
std::vector<std::byte> FaultFiles::torn(const Node& node, std::mt19937_64& random) {
  std::vector<Change> sectors;
  for (const Change& change : node.unsynced) {
    if (change.truncation) sectors.push_back(change);
    for (std::size_t at = 0; at < change.bytes.size();) {
      const std::size_t count = std::min(kSector - (change.offset + at) % kSector, change.bytes.size() - at);
      const auto begin = change.bytes.begin() + static_cast<std::ptrdiff_t>(at);
      sectors.push_back({change.offset + at, {begin, begin + static_cast<std::ptrdiff_t>(count)}, false});
      at += count;
    }
  }
  if (random() % 2 == 0) std::shuffle(sectors.begin(), sectors.end(), random);
  const std::uint64_t kind = random() % 4;
  std::vector<std::byte> bytes = node.durable;
  for (const Change& sector : sectors) {
    if (kind == 0 || (kind > 1 && random() % 2 == 0)) continue;
    if (sector.truncation) {
      bytes.resize(sector.offset);
      continue;
    }
    if (sector.offset + sector.bytes.size() > bytes.size()) bytes.resize(sector.offset + sector.bytes.size());
    std::memcpy(bytes.data() + sector.offset, sector.bytes.data(), sector.bytes.size());
  }
  return bytes;
}

void FaultFiles::delete_directory() {
  const std::lock_guard lock(mutex_);
  names_.clear();
  durable_names_.clear();
  directory_ = false;
}

std::uint64_t FaultFiles::total_bytes() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t bytes = 0;
  for (const auto& [path, node] : names_) bytes += node->now.size();
  return bytes;
}

std::map<std::string, std::vector<std::byte>> FaultFiles::contents() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::vector<std::byte>> files;
  for (const auto& [path, node] : names_) files[path] = node->now;
  return files;
}

void FaultFiles::set_contents(const std::map<std::string, std::vector<std::byte>>& files) {
  const std::lock_guard lock(mutex_);
  names_.clear();
  directory_ = true;
  for (const auto& [path, bytes] : files) {
    auto node = std::make_shared<Node>();
    node->now = node->durable = bytes;
    names_[path] = node;
  }
  durable_names_ = names_;
}

}   // namespace tensorcache::testing
