// The whole metrics page: every name, with its type and help, once.
#include "serving/server/metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <sstream>

#include "testing/engine/fake_engine.h"

namespace tensorcache::server {
namespace {

struct Family {
  std::string type, help;
  friend bool operator==(const Family&, const Family&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Family& family) { return out << family.type << ": " << family.help; }
};

// What dashboards read: to change a name or a type breaks them.
const std::map<std::string, Family> kFamilies = {
    {"tensorcache_answer_seconds", {"histogram", "Time from the request's last byte to the end of the response"}},
    {"tensorcache_answers_total", {"counter", "Responses by source: stored, collapsed (single-flight) or computed"}},
    {"tensorcache_bypasses_total", {"counter", "Requests that bypassed the response cache, by reason"}},
    {"tensorcache_cache_capacity_bytes", {"gauge", "Memory budget of the cache in bytes"}},
    {"tensorcache_cache_entries", {"gauge", "Entries in memory"}},
    {"tensorcache_cache_evictions_total", {"counter", "Evicted entries"}},
    {"tensorcache_cache_expirations_total", {"counter", "Expired entries (TTL)"}},
    {"tensorcache_cache_hits_total", {"counter", "Lookups that hit in memory"}},
    {"tensorcache_cache_misses_total", {"counter", "Lookups that missed in memory"}},
    {"tensorcache_cache_peak_bytes", {"gauge", "Maximum of tensorcache_cache_used_bytes since startup"}},
    {"tensorcache_cache_puts_total", {"counter", "Entries stored in memory"}},
    {"tensorcache_cache_rejected_puts_total", {"counter", "Puts rejected: too large, no space or parent missing"}},
    {"tensorcache_cache_removals_total", {"counter", "Entries removed by a deletion or replaced"}},
    {"tensorcache_cache_used_bytes", {"gauge", "Bytes charged to the memory budget, including index and headers"}},
    {"tensorcache_cache_value_bytes", {"gauge", "Bytes of the values in memory"}},
    {"tensorcache_clients_gone_total", {"counter", "Clients that disconnected before the response"}},
    {"tensorcache_connections", {"gauge", "Open connections"}},
    {"tensorcache_disk_accepted_bytes_total", {"counter", "Bytes of the values of entries written to disk"}},
    {"tensorcache_disk_capacity_bytes", {"gauge", "Disk budget of the disk tier in bytes"}},
    {"tensorcache_disk_corrupt_records_total", {"counter", "Entries with a checksum error"}},
    {"tensorcache_disk_degraded", {"gauge", "1 while the disk tier cannot write"}},
    {"tensorcache_disk_dropped_puts_total", {"counter", "Entries not written because memory evicted them first or the disk failed"}},
    {"tensorcache_disk_entries", {"gauge", "Entries on disk"}},
    {"tensorcache_disk_evictions_total", {"counter", "Entries evicted from disk"}},
    {"tensorcache_disk_hits_total", {"counter", "Lookups that hit on disk"}},
    {"tensorcache_disk_index_bytes", {"gauge", "Memory of the disk tier's index, charged to the memory budget"}},
    {"tensorcache_disk_late_loads_total", {"counter", "Loads that exceeded their timeout"}},
    {"tensorcache_disk_pending_bytes", {"gauge", "Entries that are not on disk yet: in the write-behind queue, or waiting for room in it"}},
    {"tensorcache_disk_puts_total", {"counter", "Entries written to disk"}},
    {"tensorcache_disk_queued_bytes", {"gauge", "Bytes in the write-behind queue"}},
    {"tensorcache_disk_read_bytes_total", {"counter", "Bytes read from disk"}},
    {"tensorcache_disk_read_errors_total", {"counter", "Failed reads"}},
    {"tensorcache_disk_ready", {"gauge", "1 after recovery of the cache directory"}},
    {"tensorcache_disk_skipped_loads_total", {"counter", "Loads skipped because computing was estimated to be faster"}},
    {"tensorcache_disk_used_bytes", {"gauge", "Bytes of all files of the disk tier"}},
    {"tensorcache_disk_value_bytes", {"gauge", "Bytes of the values on disk"}},
    {"tensorcache_disk_write_errors_total", {"counter", "Failed writes, fsyncs and other modifying calls"}},
    {"tensorcache_disk_written_again_total", {"counter", "Entries rewritten because their segment was evicted while they were in use"}},
    {"tensorcache_disk_written_bytes_total", {"counter", "Bytes written to disk, including headers and rewritten entries"}},
    {"tensorcache_engine_blocks_not_saved_total", {"counter", "Prefix blocks that the memory budget had no room for"}},
    {"tensorcache_engine_blocks_restored_total", {"counter", "Prefix blocks restored"}},
    {"tensorcache_engine_blocks_saved_total", {"counter", "Prefix blocks stored"}},
    {"tensorcache_engine_cached_tokens_total", {"counter", "Prompt tokens restored from the cache"}},
    {"tensorcache_engine_cancelled_total", {"counter", "Requests cancelled because their clients disconnected"}},
    {"tensorcache_engine_decode_seconds_total", {"counter", "Time spent in decode"}},
    {"tensorcache_engine_failed_total", {"counter", "Requests that failed in the engine"}},
    {"tensorcache_engine_finished_total", {"counter", "Requests finished by the engine"}},
    {"tensorcache_engine_generated_tokens_total", {"counter", "Generated tokens"}},
    {"tensorcache_engine_kv_restored_bytes_total", {"counter", "K/V copied into the context"}},
    {"tensorcache_engine_kv_saved_bytes_total", {"counter", "K/V copied out of the context"}},
    {"tensorcache_engine_kv_restore_seconds_total", {"counter", "Time of copying K/V into the context"}},
    {"tensorcache_engine_kv_restored_bytes_total", {"counter", "K/V copied into the context"}},
    {"tensorcache_engine_kv_save_seconds_total", {"counter", "Time of copying K/V out of the context"}},
    {"tensorcache_engine_kv_saved_bytes_total", {"counter", "K/V copied out of the context"}},
    {"tensorcache_engine_overloaded_total", {"counter", "Requests rejected because the queue was full"}},
    {"tensorcache_engine_prefill_seconds_total", {"counter", "Time spent in prefill"}},
    {"tensorcache_engine_prefilled_tokens_total", {"counter", "Prompt tokens prefilled"}},
    {"tensorcache_engine_preemptions_total", {"counter", "Times that a running request waited again because the context was full"}},
    {"tensorcache_engine_prefix_waits_total", {"counter", "Requests that waited for a prefix that another request was prefilling"}},
    {"tensorcache_engine_prompt_tokens_total", {"counter", "Prompt tokens"}},
    {"tensorcache_engine_queued", {"gauge", "Requests queued for a slot"}},
    {"tensorcache_engine_requests_total", {"counter", "Requests submitted to the engine"}},
    {"tensorcache_engine_running", {"gauge", "Requests running in a slot"}},
    {"tensorcache_engine_too_long_total", {"counter", "Requests rejected because the prompt exceeds the context size"}},
    {"tensorcache_first_token_seconds", {"histogram", "Time from the request's last byte to the first token (TTFT)"}},
    {"tensorcache_http_replies_total", {"counter", "HTTP replies by route and status"}},
    {"tensorcache_memory_automatic", {"gauge", "1 if the memory budget follows available memory (--memory auto)"}},
    {"tensorcache_memory_available_bytes", {"gauge", "Available memory of the machine or container"}},
    {"tensorcache_memory_pressure", {"gauge", "Memory pressure: share of the last second in which some task was stalled on memory (PSI)"}},
    {"tensorcache_memory_total_bytes", {"gauge", "Total memory of the machine or container"}},
    {"tensorcache_ready", {"gauge", "1 once the model is loaded"}},
    {"tensorcache_refused_connections_total", {"counter", "Connections refused because of --max-connections"}},
};

TEST(Metrics, ThePageHasEveryNameOnceWithItsTypeAndHelp) {
  Metrics metrics;
  metrics.count_reply(protocol::Route::kChat, 200);
  testing::FakeEngine engine;
  DiskStats disk;
  disk.directory = "cache";
  sizing::MemoryState memory;
  memory.reading.emplace();
  std::istringstream page(metrics.page({}, memory, disk, &engine));
  std::map<std::string, Family> families;
  for (std::string line; std::getline(page, line);) {
    std::istringstream words(line);
    std::string mark, what, name, text;
    words >> mark >> what >> name >> std::ws;
    if (mark != "#") continue;
    std::getline(words, text);
    std::string& known = what == "HELP" ? families[name].help : families[name].type;
    EXPECT_EQ(known, "") << what << " of " << name << " comes twice";
    known = text;
  }
  EXPECT_EQ(families, kFamilies);
}

TEST(Metrics, WithoutAnEngineOrADiskTheirFiguresAreLeftOut) {
  const std::string page = Metrics().page({}, {}, {}, nullptr);
  EXPECT_EQ(page.find("tensorcache_engine_"), std::string::npos);
  EXPECT_EQ(page.find("tensorcache_disk_"), std::string::npos);
  EXPECT_NE(page.find("tensorcache_ready 0"), std::string::npos);
}

TEST(Metrics, CountsWithTheirLabels) {
  Metrics metrics;
  metrics.count_reply(protocol::Route::kCache, 403);
  metrics.count_reply(protocol::Route::kCache, 403);
  metrics.count_answer(Metrics::Source::kStored, std::chrono::duration<double>(0.5), std::chrono::duration<double>(1));
  metrics.count_bypass(Metrics::Bypass::kAnswersOff);
  const std::string page = metrics.page({}, {}, {}, nullptr);
  for (const char* line : {"tensorcache_http_replies_total{route=\"cache\",status=\"403\"} 2", "tensorcache_answers_total{source=\"stored\"} 1",
                           "tensorcache_answers_total{source=\"computed\"} 0", "tensorcache_first_token_seconds_sum{source=\"stored\"} 0.5",
                           "tensorcache_bypasses_total{reason=\"answers-off\"} 1"}) {
    EXPECT_NE(page.find(line), std::string::npos) << line << " is not in\n" << page;
  }
}

}   // namespace
}   // namespace tensorcache::server
