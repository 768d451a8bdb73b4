// The disk tier against RocksDB with blob files, and against reading the same bytes raw: the same values, one after the other, in one run.
//
//   build/release/disk_bench DIR [GIB]           a folder on the disk to measure, and how much to write (2)
//   build/release/disk_bench DIR GIB --start     only how long a start takes, out of a cold page cache
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#if TENSORCACHE_WITH_ROCKSDB
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#endif

#include "store/disk/disk_tier.h"

namespace {

using namespace tensorcache;
using disk::DiskTier;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr int kRuns = 3;

struct Work {
  std::vector<Key> keys;
  std::vector<std::size_t> sizes;
  std::uint64_t bytes = 0;
  std::vector<std::byte> pool;   // incompressible; each value is a stretch of it

  Work(std::uint64_t total, std::uint64_t seed) : pool(2 * kMiB) {
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i + 8 <= pool.size(); i += 8) {
      const std::uint64_t word = random();
      std::memcpy(pool.data() + i, &word, sizeof word);
    }
    while (bytes < total) {
      sizes.push_back((64 << 10) + random() % ((1 << 20) - (64 << 10)));
      keys.push_back(KeyBuilder("bench/1").field("seed", seed).field("n", std::uint64_t{keys.size()}).build());
      bytes += sizes.back();
    }
  }
  [[nodiscard]] std::span<const std::byte> value(std::size_t i) const { return std::span(pool).subspan(i * 64 % kMiB, sizes[i]); }
  [[nodiscard]] bool right(std::size_t i, std::span<const std::byte> bytes_read) const {
    const auto expected = value(i);
    return bytes_read.size() == expected.size() && std::memcmp(bytes_read.data(), expected.data(), expected.size()) == 0;
  }
  [[nodiscard]] std::vector<std::size_t> shuffled() const {
    std::vector<std::size_t> order(keys.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    return order;
  }
};

double seconds_of(const auto& work) {
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Out of the page cache, as far as the kernel takes advice.
void forget_pages(const std::string& directory) {
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY);
    if (fd < 0) continue;
    ::fdatasync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

struct Store {
  virtual ~Store() = default;
  virtual void put(const Key& key, std::span<const std::byte> value) = 0;
  virtual void finish_writes() = 0;
  virtual bool get(const Key& key, std::vector<std::byte>* value) = 0;
};

struct Ours final : Store {
  Ours(const std::string& directory, std::uint64_t capacity) {
    disk::DiskTierOptions options;
    options.directory = directory;
    options.capacity_bytes = capacity;
    options.queue_bytes = 64 * kMiB;
    options.unix_ms = [] { return std::int64_t{1}; };
    tier = std::make_unique<DiskTier>(options);
    if (!tier->wait_ready(std::chrono::minutes(5))) std::abort();
  }
  void put(const Key& key, std::span<const std::byte> value) override {
    DiskTier::Value item;
    item.key = key;
    item.bytes = value;
    while (!tier->put(item)) {   // the cache would drop it; here all are to be written
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void finish_writes() override {
    if (!tier->flush(std::chrono::minutes(5))) std::fputs("a flush failed\n", stderr);
  }
  bool get(const Key& key, std::vector<std::byte>* value) override {
    return tier->read(
                   std::span(&key, 1),
                   [&](std::size_t, const DiskTier::Found& found) {
                     value->resize(found.value_bytes);
                     return std::span(*value);
                   },
                   [](std::size_t, const tier::Copy&) { return DiskTier::Verdict::kTaken; })
               .accepted == 1;
  }
  std::unique_ptr<DiskTier> tier;
};

#if TENSORCACHE_WITH_ROCKSDB
// As its documents say for a cache of large values: blob files, no compression, no write-ahead log, the oldest files dropped (FIFO needs
// no blobs, so the limit is kept by garbage collection of the oldest blob files), reads past a block cache that would copy again.
struct Rocks final : Store {
  explicit Rocks(const std::string& directory) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.enable_blob_files = true;
    options.min_blob_size = 4096;
    options.blob_file_size = 64 * kMiB;
    options.compression = rocksdb::kNoCompression;
    options.blob_compression_type = rocksdb::kNoCompression;
    options.enable_blob_garbage_collection = true;
    options.blob_garbage_collection_age_cutoff = 0.5;
    options.write_buffer_size = 64 * kMiB;
    options.IncreaseParallelism(2);
    rocksdb::DB* opened = nullptr;
    if (const auto status = rocksdb::DB::Open(options, directory, &opened); !status.ok()) {
      std::fprintf(stderr, "rocksdb: %s\n", status.ToString().c_str());
      std::exit(2);
    }
    db.reset(opened);
    write.disableWAL = true;
  }
  static rocksdb::Slice slice(const void* data, std::size_t bytes) { return {static_cast<const char*>(data), bytes}; }
  void put(const Key& key, std::span<const std::byte> value) override { db->Put(write, slice(&key, sizeof key), slice(value.data(), value.size())); }
  void remove(const Key& key) { db->Delete(write, slice(&key, sizeof key)); }
  void finish_writes() override { db->Flush({}); }
  bool get(const Key& key, std::vector<std::byte>* value) override {
    rocksdb::PinnableSlice found;
    if (!db->Get(read, db->DefaultColumnFamily(), slice(&key, sizeof key), &found).ok()) return false;
    value->resize(found.size());
    std::memcpy(value->data(), found.data(), found.size());
    return true;
  }
  std::unique_ptr<rocksdb::DB> db;
  rocksdb::WriteOptions write;
  rocksdb::ReadOptions read;
};
#endif

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Figures {
  std::vector<double> put, get, evict, start;   // MB/s, MB/s, MB/s, ms
};

template <class Open>
void measure(const Work& work, const std::string& directory, const Open& open, Figures* figures) {
  fs::remove_all(directory);
  const double megabytes = static_cast<double>(work.bytes) / 1e6;
  {
    auto store = open(work.bytes * 2);
    figures->put.push_back(megabytes / seconds_of([&] {
                             for (std::size_t i = 0; i < work.keys.size(); ++i) store->put(work.keys[i], work.value(i));
                             store->finish_writes();
                           }));
    std::vector<std::byte> value;
    std::size_t wrong = 0;
    const auto order = work.shuffled();
    figures->get.push_back(megabytes / seconds_of([&] {
                             for (const std::size_t i : order) wrong += !store->get(work.keys[i], &value) || value.size() != work.sizes[i];
                           }));
    for (const std::size_t i : order) wrong += !store->get(work.keys[i], &value) || !work.right(i, value);
    if (wrong > 0) std::printf("%zu values are missing or wrong\n", wrong);
  }
  figures->start.push_back(1000 * seconds_of([&] { auto store = open(work.bytes * 2); }));
}

// Twice what fits, through a store that holds half of it.
double evicting_ours(const Work& work, const std::string& directory) {
  fs::remove_all(directory);
  Ours store(directory, work.bytes / 2);
  return static_cast<double>(work.bytes) / 1e6 / seconds_of([&] {
           for (std::size_t i = 0; i < work.keys.size(); ++i) store.put(work.keys[i], work.value(i));
           store.finish_writes();
         });
}

#if TENSORCACHE_WITH_ROCKSDB
double evicting_rocks(const Work& work, const std::string& directory) {
  fs::remove_all(directory);
  Rocks store(directory);
  return static_cast<double>(work.bytes) / 1e6 / seconds_of([&] {
           std::uint64_t held = 0;
           std::size_t oldest = 0;
           for (std::size_t i = 0; i < work.keys.size(); ++i) {
             store.put(work.keys[i], work.value(i));
             for (held += work.sizes[i]; held > work.bytes / 2; held -= work.sizes[oldest++]) store.remove(work.keys[oldest]);
           }
           store.finish_writes();
           store.db->CompactRange({}, nullptr, nullptr);   // or nothing of it has been given back yet
         });
}
#endif

double raw_read(const std::string& directory) {
  constexpr std::size_t kBlock = 1 << 20;
  auto* const buffer = static_cast<std::byte*>(std::aligned_alloc(4096, kBlock));
  std::uint64_t bytes = 0;
  const double seconds = seconds_of([&] {
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().extension() != ".tcs") continue;
      const int fd = ::open(entry.path().c_str(), O_RDONLY | O_DIRECT);
      for (ssize_t count; fd >= 0 && (count = ::read(fd, buffer, kBlock)) > 0;) bytes += static_cast<std::uint64_t>(count);
      if (fd >= 0) ::close(fd);
    }
  });
  std::free(buffer);
  return static_cast<double>(bytes) / 1e6 / seconds;
}

// As the cache reads a long prefix: chain after chain of values that lie side by side, into memory that is mapped already.
double cold_read(const Work& work, DiskTier& tier) {
  constexpr std::size_t kChain = 128;
  std::vector<std::vector<std::byte>> buffers(kChain, std::vector<std::byte>(kMiB));
  std::uint64_t bytes = 0;
  const double seconds = seconds_of([&] {
    for (std::size_t at = 0; at < work.keys.size(); at += kChain) {
      const auto chain = std::span(work.keys).subspan(at, std::min(kChain, work.keys.size() - at));
      const std::size_t count =
          tier.read(
                  chain, [&](std::size_t i, const DiskTier::Found& found) { return std::span(buffers[i]).first(found.value_bytes); },
                  [](std::size_t, const tier::Copy&) { return DiskTier::Verdict::kTaken; })
              .accepted;
      for (std::size_t i = 0; i < count; ++i) bytes += work.sizes[at + i];
    }
  });
  return static_cast<double>(bytes) / 1e6 / seconds;
}

void row(const char* what, double theirs, double ours, const char* unit, double ratio, const char* goal) {
  std::printf("| %-46s | %9.0f %-4s | %9.0f %-4s | %5.2f | %-7s |\n", what, theirs, unit, ours, unit, ratio, goal);
}

// Until the tier takes and gives values, and until all that is stored is visible.
int start_only(const Work& work, const std::string& directory, double gib) {
  {
    Ours store(directory, work.bytes * 2);
    for (std::size_t i = 0; i < work.keys.size(); ++i) store.put(work.keys[i], work.value(i));
    store.finish_writes();
  }
  std::vector<double> serving, ready;
  DiskStats stats;
  for (int run = 0; run < kRuns; ++run) {
    forget_pages(directory);
    disk::DiskTierOptions options;
    options.directory = directory;
    options.capacity_bytes = work.bytes * 2;
    options.unix_ms = [] { return std::int64_t{1}; };
    std::unique_ptr<DiskTier> tier;
    const double begun = seconds_of([&] { tier = std::make_unique<DiskTier>(options); });
    serving.push_back(1000 * begun);
    ready.push_back(1000 * (begun + seconds_of([&] { static_cast<void>(tier->wait_ready(std::chrono::minutes(5))); })));
    stats = tier->stats();
  }
  std::printf("start with %.1f GiB in %llu values and %llu segments: serving after %.1f ms, all of it visible after %.1f ms (medians of %d)\n", gib,
              static_cast<unsigned long long>(stats.entries), static_cast<unsigned long long>(stats.segments), median(serving), median(ready), kRuns);
  fs::remove_all(directory);
  return stats.entries == work.keys.size() ? 0 : 1;
}

}   // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: disk_bench DIR [GIB [--start]]\n", stderr);
    return 2;
  }
  const std::string base = std::string(argv[1]) + "/tensorcache-disk-bench", ours = base + "/ours", rocks = base + "/rocksdb";
  fs::create_directories(base);
  const double gib = argc > 2 ? std::atof(argv[2]) : 2;
  const Work work(static_cast<std::uint64_t>(gib * 1024) * kMiB, 1);
  std::printf("%zu values of 64 KiB to 1 MiB, %.2f GB; medians of %d runs\n\n", work.keys.size(), static_cast<double>(work.bytes) / 1e9, kRuns);
  if (argc > 3 && std::string(argv[3]) == "--start") return start_only(work, ours, gib);
  Figures figures[2];
  std::vector<double> raw, cold;
  DiskStats stats;
  for (int run = 0; run < kRuns; ++run) {
#if TENSORCACHE_WITH_ROCKSDB
    measure(work, rocks, [&](std::uint64_t) { return std::make_unique<Rocks>(rocks); }, &figures[0]);
    figures[0].evict.push_back(evicting_rocks(work, rocks));
    fs::remove_all(rocks);
#endif
    figures[1].evict.push_back(evicting_ours(work, ours));
    measure(work, ours, [&](std::uint64_t capacity) { return std::make_unique<Ours>(ours, capacity); }, &figures[1]);
    forget_pages(ours);
    raw.push_back(raw_read(ours));
    Ours store(ours, work.bytes * 2);
    forget_pages(ours);
    cold.push_back(cold_read(work, *store.tier));
    stats = store.tier->stats();
  }
  std::printf("| %-46s | %14s | %14s | %5s | %-7s |\n|%s|\n", "work", "compared", "ours", "ratio", "goal", std::string(100, '-').c_str());
#if TENSORCACHE_WITH_ROCKSDB
  const auto against = [&](const char* what, auto member, const char* unit, bool less) {
    const double theirs = median(figures[0].*member), mine = median(figures[1].*member);
    row(what, theirs, mine, unit, mine / theirs, less ? "<= 1" : ">= 1");
  };
  against("RocksDB: put and flush", &Figures::put, "MB/s", false);
  against("RocksDB: get, random order, in the page cache", &Figures::get, "MB/s", false);
  against("RocksDB: put twice what fits", &Figures::evict, "MB/s", false);
  against("RocksDB: start", &Figures::start, "ms", true);
#endif
  row("raw sequential read (O_DIRECT): read back, cold", median(raw), median(cold), "MB/s", median(cold) / median(raw), ">= 0.8");
  {
    Ours store(ours, work.bytes * 2);
    stats = store.tier->stats();
  }
  std::printf("\nstart: %.0f ms for %.1f GiB; index: %.1f bytes a value\n", median(figures[1].start), gib,
              static_cast<double>(stats.index_bytes) / static_cast<double>(std::max<std::uint64_t>(stats.entries, 1)));
  {
    fs::remove_all(ours);
    Ours store(ours, work.bytes * 2);
    for (std::size_t i = 0; i < work.keys.size(); ++i) store.put(work.keys[i], work.value(i));
    store.finish_writes();
    stats = store.tier->stats();
  }
  std::printf("bytes written / accepted: %.4f\n", static_cast<double>(stats.written_bytes) / static_cast<double>(stats.accepted_bytes));
  fs::remove_all(base);
  return 0;
}
