#include "serving/server/metrics.h"

#include <prometheus/text_serializer.h>

#include <string_view>
#include <vector>

namespace tensorcache::server {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

// From a cache hit of a fraction of a millisecond to a long generation.
const prometheus::Histogram::BucketBoundaries kSeconds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                          0.25,   0.5,     1,      2.5,   5,      10,    30,   60,    120,  300};

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
prometheus::Family<prometheus::Histogram>& histograms(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

class Page {
 public:
  explicit Page(std::vector<MetricFamily> families) : families_(std::move(families)) {}

  void counter(const char* name, const char* help, double value) { add(name, help, MetricType::Counter).counter.value = value; }
  void gauge(const char* name, const char* help, double value) { add(name, help, MetricType::Gauge).gauge.value = value; }
  void gauges_by_kind(const char* name, const char* help, const Stats& stats, std::uint64_t KindStats::* member) {
    families_.push_back({name, help, MetricType::Gauge, {}});
    for (std::size_t kind = 0; kind < kKindCount; ++kind) {
      prometheus::ClientMetric metric;
      metric.label = {{"kind", std::string(kind_name(static_cast<Kind>(kind)))}};
      metric.gauge.value = static_cast<double>(stats.kinds[kind].*member);
      families_.back().metric.push_back(metric);
    }
  }
  [[nodiscard]] std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  prometheus::ClientMetric& add(const char* name, const char* help, MetricType type) {
    families_.push_back({name, help, type, {prometheus::ClientMetric{}}});
    return families_.back().metric.back();
  }
  std::vector<MetricFamily> families_;
};

double number(std::uint64_t value) { return static_cast<double>(value); }

void add_cache(Page& page, const Stats& stats) {
  page.gauge("tensorcache_cache_capacity_bytes", "Memory budget of the cache in bytes", number(stats.capacity_bytes));
  page.gauge("tensorcache_cache_used_bytes", "Bytes charged to the memory budget, including index and headers", number(stats.used_bytes));
  page.gauge("tensorcache_cache_peak_bytes", "Maximum of tensorcache_cache_used_bytes since startup", number(stats.peak_bytes));
  page.counter("tensorcache_cache_hits_total", "Lookups that hit in memory", number(stats.hits));
  page.counter("tensorcache_cache_misses_total", "Lookups that missed in memory", number(stats.misses));
  page.counter("tensorcache_cache_puts_total", "Entries stored in memory", number(stats.puts));
  page.counter("tensorcache_cache_rejected_puts_total", "Puts rejected: too large, no space or parent missing", number(stats.rejected_puts));
  page.counter("tensorcache_cache_evictions_total", "Evicted entries", number(stats.evictions));
  page.counter("tensorcache_cache_expirations_total", "Expired entries (TTL)", number(stats.expirations));
  page.counter("tensorcache_cache_removals_total", "Entries removed by a deletion or replaced", number(stats.removals));
  page.gauges_by_kind("tensorcache_cache_entries", "Entries in memory", stats, &KindStats::entries);
  page.gauges_by_kind("tensorcache_cache_value_bytes", "Bytes of the values in memory", stats, &KindStats::value_bytes);
}

void add_memory(Page& page, const sizing::MemoryState& state) {
  page.gauge("tensorcache_memory_automatic", "1 if the memory budget follows available memory (--memory auto)", state.automatic ? 1 : 0);
  if (!state.reading) return;
  page.gauge("tensorcache_memory_total_bytes", "Total memory of the machine or container", number(state.reading->total_bytes));
  page.gauge("tensorcache_memory_available_bytes", "Available memory of the machine or container", number(state.reading->available_bytes));
  page.gauge("tensorcache_memory_pressure", "Memory pressure: share of the last second in which some task was stalled on memory (PSI)",
             state.reading->pressure);
}

void add_disk(Page& page, const DiskStats& stats) {
  page.gauge("tensorcache_disk_capacity_bytes", "Disk budget of the disk tier in bytes", number(stats.capacity_bytes));
  page.gauge("tensorcache_disk_used_bytes", "Bytes of all files of the disk tier", number(stats.used_bytes));
  page.gauge("tensorcache_disk_entries", "Entries on disk", number(stats.entries));
  page.gauge("tensorcache_disk_value_bytes", "Bytes of the values on disk", number(stats.value_bytes));
  page.gauge("tensorcache_disk_index_bytes", "Memory of the disk tier's index, charged to the memory budget", number(stats.index_bytes));
  page.gauge("tensorcache_disk_queued_bytes", "Bytes in the write-behind queue", number(stats.queued_bytes));
  page.gauge("tensorcache_disk_pending_bytes", "Entries that are not on disk yet: in the write-behind queue, or waiting for room in it",
             number(stats.pending_bytes));
  page.gauge("tensorcache_disk_ready", "1 after recovery of the cache directory", stats.ready ? 1 : 0);
  page.gauge("tensorcache_disk_degraded", "1 while the disk tier cannot write", stats.degraded ? 1 : 0);
  page.counter("tensorcache_disk_hits_total", "Lookups that hit on disk", number(stats.hits));
  page.counter("tensorcache_disk_read_bytes_total", "Bytes read from disk", number(stats.read_bytes));
  page.counter("tensorcache_disk_skipped_loads_total", "Loads skipped because computing was estimated to be faster", number(stats.skipped_loads));
  page.counter("tensorcache_disk_late_loads_total", "Loads that exceeded their timeout", number(stats.late_loads));
  page.counter("tensorcache_disk_puts_total", "Entries written to disk", number(stats.puts));
  page.counter("tensorcache_disk_accepted_bytes_total", "Bytes of the values of entries written to disk", number(stats.accepted_bytes));
  page.counter("tensorcache_disk_written_bytes_total", "Bytes written to disk, including headers and rewritten entries", number(stats.written_bytes));
  page.counter("tensorcache_disk_dropped_puts_total", "Entries not written because memory evicted them first or the disk failed",
               number(stats.dropped_puts));
  page.counter("tensorcache_disk_evictions_total", "Entries evicted from disk", number(stats.evictions));
  page.counter("tensorcache_disk_written_again_total", "Entries rewritten because their segment was evicted while they were in use",
               number(stats.written_again));
  page.counter("tensorcache_disk_corrupt_records_total", "Entries with a checksum error", number(stats.corrupt_records));
  page.counter("tensorcache_disk_read_errors_total", "Failed reads", number(stats.read_errors));
  page.counter("tensorcache_disk_write_errors_total", "Failed writes, fsyncs and other modifying calls", number(stats.write_errors));
}

void add_engine(Page& page, const engine::EngineStats& stats) {
  page.counter("tensorcache_engine_requests_total", "Requests submitted to the engine", number(stats.requests));
  page.counter("tensorcache_engine_finished_total", "Requests finished by the engine", number(stats.finished));
  page.counter("tensorcache_engine_cancelled_total", "Requests cancelled because their clients disconnected", number(stats.cancelled));
  page.counter("tensorcache_engine_failed_total", "Requests that failed in the engine", number(stats.failed));
  page.counter("tensorcache_engine_too_long_total", "Requests rejected because the prompt exceeds the context size", number(stats.too_long));
  page.counter("tensorcache_engine_overloaded_total", "Requests rejected because the queue was full", number(stats.overloaded));
  page.counter("tensorcache_engine_prompt_tokens_total", "Prompt tokens", number(stats.prompt_tokens));
  page.counter("tensorcache_engine_cached_tokens_total", "Prompt tokens restored from the cache", number(stats.cached_tokens));
  page.counter("tensorcache_engine_prefilled_tokens_total", "Prompt tokens prefilled", number(stats.prefilled_tokens));
  page.counter("tensorcache_engine_generated_tokens_total", "Generated tokens", number(stats.generated_tokens));
  page.counter("tensorcache_engine_prefix_waits_total", "Requests that waited for a prefix that another request was prefilling",
               number(stats.prefix_waits));
  page.counter("tensorcache_engine_preemptions_total", "Times that a running request waited again because the context was full",
               number(stats.preemptions));
  page.counter("tensorcache_engine_blocks_saved_total", "Prefix blocks stored", number(stats.blocks_saved));
  page.counter("tensorcache_engine_blocks_restored_total", "Prefix blocks restored", number(stats.blocks_restored));
  page.counter("tensorcache_engine_blocks_not_saved_total", "Prefix blocks that the memory budget had no room for", number(stats.blocks_not_saved));
  page.counter("tensorcache_engine_kv_saved_bytes_total", "K/V copied out of the context", number(stats.kv_saved_bytes));
  page.counter("tensorcache_engine_kv_restored_bytes_total", "K/V copied into the context", number(stats.kv_restored_bytes));
  page.counter("tensorcache_engine_kv_save_seconds_total", "Time of copying K/V out of the context", stats.kv_save_seconds);
  page.counter("tensorcache_engine_kv_restore_seconds_total", "Time of copying K/V into the context", stats.kv_restore_seconds);
  page.counter("tensorcache_engine_prefill_seconds_total", "Time spent in prefill", stats.prefill_seconds);
  page.counter("tensorcache_engine_decode_seconds_total", "Time spent in decode", stats.decode_seconds);
  page.gauge("tensorcache_engine_queued", "Requests queued for a slot", stats.queued);
  page.gauge("tensorcache_engine_running", "Requests running in a slot", stats.running);
}

}   // namespace

Metrics::Metrics()
    : replies_(counters(registry_, "tensorcache_http_replies_total", "HTTP replies by route and status")),
      answers_(counters(registry_, "tensorcache_answers_total", "Responses by source: stored, collapsed (single-flight) or computed")),
      first_byte_(histograms(registry_, "tensorcache_first_token_seconds", "Time from the request's last byte to the first token (TTFT)")),
      last_byte_(histograms(registry_, "tensorcache_answer_seconds", "Time from the request's last byte to the end of the response")),
      clients_gone_(counters(registry_, "tensorcache_clients_gone_total", "Clients that disconnected before the response").Add({})),
      refused_connections_(counters(registry_, "tensorcache_refused_connections_total", "Connections refused because of --max-connections").Add({})) {
  auto& bypasses = counters(registry_, "tensorcache_bypasses_total", "Requests that bypassed the response cache, by reason");
  bypasses_[0] = &bypasses.Add({{"reason", "sampled"}});
  bypasses_[1] = &bypasses.Add({{"reason", "answers-off"}});
  for (std::size_t i = 0; i < std::size(sources_); ++i) {
    const prometheus::Labels labels{{"source", std::string(source_name(static_cast<Source>(i)))}};
    sources_[i] = {&answers_.Add(labels), &first_byte_.Add(labels, kSeconds), &last_byte_.Add(labels, kSeconds)};
  }
}

std::string_view Metrics::source_name(Source source) {
  constexpr std::string_view kNames[] = {"stored", "collapsed", "computed"};
  return kNames[static_cast<std::size_t>(source)];
}

void Metrics::count_reply(protocol::Route route, int status) {
  prometheus::Counter*& counter = reply_counters_[{route, status}];
  if (!counter) counter = &replies_.Add({{"route", std::string(protocol::route_name(route))}, {"status", std::to_string(status)}});
  counter->Increment();
}

void Metrics::count_answer(Source source, std::chrono::duration<double> to_first_byte, std::chrono::duration<double> to_last_byte) {
  const PerSource& of = sources_[static_cast<std::size_t>(source)];
  of.answers->Increment();
  of.first_byte->Observe(to_first_byte.count());
  of.last_byte->Observe(to_last_byte.count());
}

std::string Metrics::page(const Stats& cache, const sizing::MemoryState& memory, const DiskStats& disk, const engine::Engine* engine) const {
  Page page(registry_.Collect());
  page.gauge("tensorcache_connections", "Open connections", connections);
  page.gauge("tensorcache_ready", "1 once the model is loaded", engine ? 1 : 0);
  add_cache(page, cache);
  add_memory(page, memory);
  if (!disk.directory.empty()) add_disk(page, disk);
  if (engine) add_engine(page, engine->stats());
  return page.text();
}

}   // namespace tensorcache::server
