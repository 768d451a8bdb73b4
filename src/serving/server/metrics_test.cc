// The whole metrics page: every name, with its type, once.
#include "serving/server/metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "testing/engine/fake_engine.h"

namespace tensorcache::server {
namespace {

// What dashboards read: to change a row breaks them.
const std::map<std::string, std::string> kTypes = {
    {"tensorcache_answer_seconds", "histogram"},
    {"tensorcache_answers_total", "counter"},
    {"tensorcache_bypasses_total", "counter"},
    {"tensorcache_cache_capacity_bytes", "gauge"},
    {"tensorcache_cache_entries", "gauge"},
    {"tensorcache_cache_evictions_total", "counter"},
    {"tensorcache_cache_expirations_total", "counter"},
    {"tensorcache_cache_hits_total", "counter"},
    {"tensorcache_cache_misses_total", "counter"},
    {"tensorcache_cache_peak_bytes", "gauge"},
    {"tensorcache_cache_puts_total", "counter"},
    {"tensorcache_cache_rejected_puts_total", "counter"},
    {"tensorcache_cache_removals_total", "counter"},
    {"tensorcache_cache_used_bytes", "gauge"},
    {"tensorcache_cache_value_bytes", "gauge"},
    {"tensorcache_clients_gone_total", "counter"},
    {"tensorcache_connections", "gauge"},
    {"tensorcache_disk_accepted_bytes_total", "counter"},
    {"tensorcache_disk_capacity_bytes", "gauge"},
    {"tensorcache_disk_corrupt_records_total", "counter"},
    {"tensorcache_disk_degraded", "gauge"},
    {"tensorcache_disk_dropped_puts_total", "counter"},
    {"tensorcache_disk_entries", "gauge"},
    {"tensorcache_disk_evictions_total", "counter"},
    {"tensorcache_disk_hits_total", "counter"},
    {"tensorcache_disk_index_bytes", "gauge"},
    {"tensorcache_disk_late_loads_total", "counter"},
    {"tensorcache_disk_puts_total", "counter"},
    {"tensorcache_disk_queued_bytes", "gauge"},
    {"tensorcache_disk_read_bytes_total", "counter"},
    {"tensorcache_disk_read_errors_total", "counter"},
    {"tensorcache_disk_ready", "gauge"},
    {"tensorcache_disk_skipped_loads_total", "counter"},
    {"tensorcache_disk_used_bytes", "gauge"},
    {"tensorcache_disk_value_bytes", "gauge"},
    {"tensorcache_disk_write_errors_total", "counter"},
    {"tensorcache_disk_written_again_total", "counter"},
    {"tensorcache_disk_written_bytes_total", "counter"},
    {"tensorcache_engine_blocks_not_saved_total", "counter"},
    {"tensorcache_engine_blocks_restored_total", "counter"},
    {"tensorcache_engine_blocks_saved_total", "counter"},
    {"tensorcache_engine_cached_tokens_total", "counter"},
    {"tensorcache_engine_cancelled_total", "counter"},
    {"tensorcache_engine_decode_seconds_total", "counter"},
    {"tensorcache_engine_failed_total", "counter"},
    {"tensorcache_engine_finished_total", "counter"},
    {"tensorcache_engine_generated_tokens_total", "counter"},
    {"tensorcache_engine_kv_restored_bytes_total", "counter"},
    {"tensorcache_engine_kv_saved_bytes_total", "counter"},
    {"tensorcache_engine_overloaded_total", "counter"},
    {"tensorcache_engine_prefill_seconds_total", "counter"},
    {"tensorcache_engine_prefilled_tokens_total", "counter"},
    {"tensorcache_engine_prefix_waits_total", "counter"},
    {"tensorcache_engine_prompt_tokens_total", "counter"},
    {"tensorcache_engine_queued", "gauge"},
    {"tensorcache_engine_requests_total", "counter"},
    {"tensorcache_engine_running", "gauge"},
    {"tensorcache_engine_too_long_total", "counter"},
    {"tensorcache_first_token_seconds", "histogram"},
    {"tensorcache_http_replies_total", "counter"},
    {"tensorcache_memory_automatic", "gauge"},
    {"tensorcache_memory_available_bytes", "gauge"},
    {"tensorcache_memory_pressure", "gauge"},
    {"tensorcache_memory_total_bytes", "gauge"},
    {"tensorcache_ready", "gauge"},
    {"tensorcache_refused_connections_total", "counter"},
};

TEST(Metrics, ThePageHasEveryNameOnceWithItsType) {
  Metrics metrics;
  metrics.count_reply(protocol::Route::kChat, 200);
  testing::FakeEngine engine;
  DiskStats disk;
  disk.directory = "cache";
  sizing::MemoryState memory;
  memory.reading.emplace();
  std::istringstream page(metrics.page({}, memory, disk, &engine));
  std::map<std::string, std::string> types;
  std::set<std::string> helped;
  for (std::string line; std::getline(page, line);) {
    std::istringstream words(line);
    std::string mark, what, name, type;
    words >> mark >> what >> name;
    if (mark != "#") continue;
    const bool first = what == "HELP" ? helped.insert(name).second : (words >> type) && types.emplace(name, type).second;
    EXPECT_TRUE(first) << what << " of " << name << " comes twice";
  }
  EXPECT_EQ(types, kTypes);
  EXPECT_EQ(helped.size(), kTypes.size());
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
