// CacheManager: several named caches under one memory budget.
//
// Example:
//   tensorcache::CacheManager manager({.store = {.capacity_bytes = 1 << 26}});
//   tensorcache::TensorCache& embeddings = manager.cache("embeddings");
//   tensorcache::TensorCache& logits = manager.cache("logits");
//   (void)embeddings.add("a sentence", tensorcache::TensorView::text("..."));
//   bool elsewhere = logits.contains("a sentence");   // false: caches do not share entries
//
// THREADS: every member except close() may be called from any thread at any time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tensorcache/tensor_cache.h"

namespace tensorcache {

class CacheManager {
 public:
  // The options of a TensorCache; `name` and `capacity_entries` apply to the first cache.
  // Throws what TensorCache's constructor throws.
  explicit CacheManager(const TensorCacheOptions& options);
  // Waits for running refreshes, which may use any of the caches. REQUIRES: no other call is
  // running.
  ~CacheManager();
  CacheManager(const CacheManager&) = delete;
  CacheManager& operator=(const CacheManager&) = delete;

  // RETURNS the cache of this name, created at its first use and valid as long as the manager. All
  // caches share the budget and the tags: invalidate() on any of them applies to all.
  // `capacity_entries` takes effect at the first use only. Throws std::invalid_argument for a name
  // longer than 200 bytes.
  [[nodiscard]] TensorCache& cache(const std::string& name, std::uint64_t capacity_entries = 0);
  // RETURNS the names of the caches created so far, in alphabetical order.
  [[nodiscard]] std::vector<std::string> names() const;
  std::uint64_t clear();                        // all caches; RETURNS the number of removed entries
  void resize(std::uint64_t capacity_bytes);    // see Cache::resize
  bool flush(std::chrono::milliseconds time);   // see Cache::flush
  bool close(std::chrono::milliseconds time);   // see Cache::close. REQUIRES: no other call is running

 private:
  void stop_refreshes();
  const std::shared_ptr<tensor::Shared> shared_;
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<TensorCache>> caches_;
};

}   // namespace tensorcache
