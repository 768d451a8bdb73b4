// Several named caches under one byte budget: one program, many kinds of results, one limit.
//
// Example:
//   tensorcache::CacheManager manager({.store = {.capacity_bytes = 1 << 26}});
//   tensorcache::TensorCache& embeddings = manager.cache("embeddings");
//   tensorcache::TensorCache& logits = manager.cache("logits");
//   (void)embeddings.add("a sentence", tensorcache::TensorView::text("..."));
//   bool elsewhere = logits.contains("a sentence");   // false: names keep them apart
//
// Threads: every member but close() may be called from any thread at any time.
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
  // Options are those of a TensorCache; `name` and `capacity_entries` are those of the cache that is there from the start. Throws what a
  // TensorCache's constructor throws.
  explicit CacheManager(const TensorCacheOptions& options);
  // Waits for refreshes that are running, which may use any of the caches. Nothing else may be running.
  ~CacheManager();
  CacheManager(const CacheManager&) = delete;
  CacheManager& operator=(const CacheManager&) = delete;

  // The cache of this name, made at its first use and there as long as the manager. Entries compete for the one budget; tags are one
  // space too: invalidate() of any of them holds for all. `capacity_entries` counts at its first use only. Throws std::invalid_argument
  // for a name longer than 200 bytes.
  [[nodiscard]] TensorCache& cache(const std::string& name, std::uint64_t capacity_entries = 0);
  [[nodiscard]] std::vector<std::string> names() const;
  std::uint64_t clear();   // all of them; how many entries went
  void resize(std::uint64_t capacity_bytes);
  bool flush(std::chrono::milliseconds time);
  bool close(std::chrono::milliseconds time);   // see Cache::close. Nothing else may be running

 private:
  void stop_refreshes();
  const std::shared_ptr<tensor::Shared> shared_;
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<TensorCache>> caches_;
};

}   // namespace tensorcache
