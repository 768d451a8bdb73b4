#include "serving/server/metrics.h"

#include <prometheus/text_serializer.h>

#include <string_view>
#include <vector>

namespace tensorcache::server {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

// From a hit of a fraction of a millisecond to a long generation.
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
  page.gauge("tensorcache_cache_capacity_bytes", "Byte budget of the cache", number(stats.capacity_bytes));
  page.gauge("tensorcache_cache_used_bytes", "Bytes charged to the budget, index and headers included", number(stats.used_bytes));
  page.gauge("tensorcache_cache_peak_bytes", "Most bytes that were ever charged at once", number(stats.peak_bytes));
  page.counter("tensorcache_cache_hits_total", "Values found", number(stats.hits));
  page.counter("tensorcache_cache_misses_total", "Values not found", number(stats.misses));
  page.counter("tensorcache_cache_puts_total", "Values stored", number(stats.puts));
  page.counter("tensorcache_cache_rejected_puts_total", "Values that did not fit", number(stats.rejected_puts));
  page.counter("tensorcache_cache_evictions_total", "Values that made room for others", number(stats.evictions));
  page.counter("tensorcache_cache_expirations_total", "Values that outlived their time to live", number(stats.expirations));
  page.counter("tensorcache_cache_removals_total", "Values removed by request", number(stats.removals));
  page.gauges_by_kind("tensorcache_cache_entries", "Values stored now", stats, &KindStats::entries);
  page.gauges_by_kind("tensorcache_cache_value_bytes", "Bytes of the values stored now", stats, &KindStats::value_bytes);
}

void add_memory(Page& page, const sizing::MemoryState& state) {
  page.gauge("tensorcache_memory_automatic", "1 while the cache's size follows the machine", state.automatic ? 1 : 0);
  if (!state.reading) return;
  page.gauge("tensorcache_memory_total_bytes", "Memory of the machine, or of the container", number(state.reading->total_bytes));
  page.gauge("tensorcache_memory_available_bytes", "Of it, what can be had before others lose anything", number(state.reading->available_bytes));
  page.gauge("tensorcache_memory_pressure", "Share of the last second in which some task stood still for want of memory", state.reading->pressure);
}

void add_disk(Page& page, const DiskStats& stats) {
  page.gauge("tensorcache_disk_capacity_bytes", "Byte budget of all files of the disk tier", number(stats.capacity_bytes));
  page.gauge("tensorcache_disk_used_bytes", "Bytes of all its files", number(stats.used_bytes));
  page.gauge("tensorcache_disk_entries", "Values on disk now", number(stats.entries));
  page.gauge("tensorcache_disk_value_bytes", "Bytes of the values on disk now", number(stats.value_bytes));
  page.gauge("tensorcache_disk_index_bytes", "Memory of its index, charged to the cache's budget", number(stats.index_bytes));
  page.gauge("tensorcache_disk_queued_bytes", "Bytes waiting to be written", number(stats.queued_bytes));
  page.gauge("tensorcache_disk_ready", "1 once what the directory held at start is visible", stats.ready ? 1 : 0);
  page.gauge("tensorcache_disk_degraded", "1 while nothing can be written", stats.degraded ? 1 : 0);
  page.counter("tensorcache_disk_hits_total", "Values read from disk", number(stats.hits));
  page.counter("tensorcache_disk_read_bytes_total", "Bytes read from disk", number(stats.read_bytes));
  page.counter("tensorcache_disk_skipped_loads_total", "Loads not begun because computing was faster", number(stats.skipped_loads));
  page.counter("tensorcache_disk_late_loads_total", "Loads that took longer than computing", number(stats.late_loads));
  page.counter("tensorcache_disk_puts_total", "Values written to disk", number(stats.puts));
  page.counter("tensorcache_disk_accepted_bytes_total", "Bytes of the values written to disk", number(stats.accepted_bytes));
  page.counter("tensorcache_disk_written_bytes_total", "Bytes written to disk for them, and again to keep them", number(stats.written_bytes));
  page.counter("tensorcache_disk_dropped_puts_total", "Values not written: the disk was too slow or did not work", number(stats.dropped_puts));
  page.counter("tensorcache_disk_evictions_total", "Values that made room for others", number(stats.evictions));
  page.counter("tensorcache_disk_written_again_total", "Values in use that were kept when their segment went", number(stats.written_again));
  page.counter("tensorcache_disk_corrupt_records_total", "Values that did not check out when they were read", number(stats.corrupt_records));
  page.counter("tensorcache_disk_read_errors_total", "Reads that failed", number(stats.read_errors));
  page.counter("tensorcache_disk_write_errors_total", "Writes, syncs and the like that failed", number(stats.write_errors));
}

void add_engine(Page& page, const engine::EngineStats& stats) {
  page.counter("tensorcache_engine_requests_total", "Requests given to the engine", number(stats.requests));
  page.counter("tensorcache_engine_finished_total", "Requests the engine finished", number(stats.finished));
  page.counter("tensorcache_engine_cancelled_total", "Requests whose clients left", number(stats.cancelled));
  page.counter("tensorcache_engine_failed_total", "Requests that failed in the engine", number(stats.failed));
  page.counter("tensorcache_engine_too_long_total", "Requests refused because their prompts do not fit the context", number(stats.too_long));
  page.counter("tensorcache_engine_overloaded_total", "Requests refused because the queue was full", number(stats.overloaded));
  page.counter("tensorcache_engine_prompt_tokens_total", "Tokens of prompts", number(stats.prompt_tokens));
  page.counter("tensorcache_engine_cached_tokens_total", "Tokens of prompts that were not computed", number(stats.cached_tokens));
  page.counter("tensorcache_engine_prefilled_tokens_total", "Tokens of prompts that were computed", number(stats.prefilled_tokens));
  page.counter("tensorcache_engine_generated_tokens_total", "Tokens of answers", number(stats.generated_tokens));
  page.counter("tensorcache_engine_prefix_waits_total", "Requests that waited for a prefix another computed", number(stats.prefix_waits));
  page.counter("tensorcache_engine_blocks_saved_total", "Prefix blocks stored", number(stats.blocks_saved));
  page.counter("tensorcache_engine_blocks_restored_total", "Prefix blocks put back", number(stats.blocks_restored));
  page.counter("tensorcache_engine_prefill_seconds_total", "Time spent reading prompts", stats.prefill_seconds);
  page.counter("tensorcache_engine_decode_seconds_total", "Time spent writing answers", stats.decode_seconds);
  page.gauge("tensorcache_engine_queued", "Requests waiting for a slot", stats.queued);
  page.gauge("tensorcache_engine_running", "Requests in a slot", stats.running);
}

}   // namespace

Metrics::Metrics()
    : replies_(counters(registry_, "tensorcache_http_replies_total", "Replies by route and status")),
      answers_(counters(registry_, "tensorcache_answers_total", "Answers by where they came from")),
      first_byte_(histograms(registry_, "tensorcache_first_token_seconds", "From the request's last byte to the answer's first token")),
      last_byte_(histograms(registry_, "tensorcache_answer_seconds", "From the request's last byte to the answer's last")),
      clients_gone_(counters(registry_, "tensorcache_clients_gone_total", "Clients that left before their answer").Add({})),
      refused_connections_(counters(registry_, "tensorcache_refused_connections_total", "Connections over the limit").Add({})) {
  auto& bypasses = counters(registry_, "tensorcache_bypasses_total", "Requests whose answers are neither looked up nor stored, by reason");
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
