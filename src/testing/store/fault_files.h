// Tests only: files in memory, with the faults that disks have.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/file/file.h"

namespace tensorcache::testing {

class FaultFiles final : public file::FileSystem, public std::enable_shared_from_this<FaultFiles> {
 public:
  std::unique_ptr<file::File> open(const std::string& path, file::Open mode, int* error) override;
  std::unique_ptr<file::File> lock(const std::string& path, int* error) override;
  int list(const std::string& directory, std::vector<std::string>* names) override;
  int remove(const std::string& path) override;
  int rename(const std::string& from, const std::string& to) override;
  int make_directory(const std::string& directory) override;
  int sync_directory(const std::string& directory) override;
  bool exists(const std::string& path) override;
  int size_of(const std::string& path, std::uint64_t* bytes) override;
  std::size_t max_open_files() override;

  // The calls of these kinds, counted from now on; the n-th (from 1) fails with `error`, or all
  // from it on with `and_all_after`.
  enum Call : unsigned { kRead = 1, kWrite = 2, kSync = 4, kOpen = 8, kNames = 16, kAny = 31 };
  void fail_call(unsigned kinds, std::uint64_t n, int error, bool and_all_after = false);
  void fail_nothing() { fail_call(0, 0, 0); }
  [[nodiscard]] std::uint64_t calls() const;    // of those kinds since then
  [[nodiscard]] std::uint64_t faults() const;   // that really happened
  void short_transfers(bool on);
  void set_read_delay(std::chrono::milliseconds delay) { read_delay_ms_ = delay.count(); }
  // Reads wait, each with the bytes it has read, until they are let go on.
  void hold_reads(bool on);
  [[nodiscard]] std::size_t held_reads() const;
  // Writes wait, before they do anything, until they are let go on.
  void hold_writes(bool on);
  [[nodiscard]] std::size_t held_writes() const;
  // Of the last close of a file that has no name any more, which frees its pages.
  void set_close_delay(std::chrono::milliseconds delay) { close_delay_ms_ = delay.count(); }
  [[nodiscard]] std::uint64_t delayed_closes_begun() const { return delayed_closes_begun_; }
  [[nodiscard]] std::uint64_t delayed_closes_ended() const { return delayed_closes_ended_; }
  void set_write_delay(std::chrono::milliseconds delay) { write_delay_ms_ = delay.count(); }
  // ENOSPC beyond, in the middle of a write where it falls there. 0: no limit.
  void set_room(std::uint64_t bytes);
  // EMFILE beyond so many open files; a cache is told that it may have `of_a_cache` of them.
  void set_descriptors(std::size_t most, std::size_t of_a_cache);
  [[nodiscard]] std::size_t open_files() const;

  // What is left after the power was cut: what was synced, and of the rest any sectors of 512
  // bytes, in any order; of files and removals whose directory was not synced, any. Files of its
  // own, with every lock free.
  [[nodiscard]] std::shared_ptr<FaultFiles> after_power_cut(std::uint64_t seed) const;
  void delete_directory();
  [[nodiscard]] std::uint64_t total_bytes() const;
  [[nodiscard]] std::uint64_t peak_bytes() const;
  [[nodiscard]] std::map<std::string, std::vector<std::byte>> contents() const;
  void set_contents(const std::map<std::string, std::vector<std::byte>>& files);

 private:
  struct Change {
    std::uint64_t offset;
    std::vector<std::byte> bytes;
    bool truncation;   // to `offset`
  };
  struct Node {
    std::vector<std::byte> now, durable;
    std::vector<Change> unsynced;
  };
  class Opened;
  class Lock;

  [[nodiscard]] static std::vector<std::byte> torn(const Node& node, std::mt19937_64& random);
  [[nodiscard]] int fault(Call kind);   // 0, or the error this call must fail with

  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Node>> names_, durable_names_;
  std::set<std::shared_ptr<Node>> locked_;
  bool directory_ = false;
  unsigned kinds_ = 0;
  std::size_t descriptors_ = SIZE_MAX, most_open_ = 1024, open_ = 0;
  std::uint64_t fail_at_ = 0, calls_ = 0, faults_ = 0, room_ = 0, peak_ = 0;
  int error_ = 0;
  bool all_after_ = false, short_ = false;
  std::atomic<std::int64_t> read_delay_ms_{0}, write_delay_ms_{0}, close_delay_ms_{0};
  std::atomic<std::uint64_t> delayed_closes_begun_{0}, delayed_closes_ended_{0};
  std::condition_variable let_go_on_;
  bool hold_reads_ = false, hold_writes_ = false;
  std::size_t held_reads_ = 0, held_writes_ = 0;
  std::mt19937_64 random_{1};
};

}   // namespace tensorcache::testing
