#include "server/cache_routes.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "server/json_text.h"

namespace tensorcache {
namespace {

constexpr std::size_t kDefaultLimit = 20, kMaxLimit = 1000;

void member(std::string& out, std::string_view name, std::uint64_t value) {
  if (out.back() != '{') out += ',';
  append_json_string(out, name);
  out += ':';
  append_json_number(out, value);
}

void append_kinds(std::string& out, const Stats& stats) {
  out += "\"kinds\":{";
  for (std::size_t kind = 0; kind < kKindCount; ++kind) {
    if (kind > 0) out += ',';
    append_json_string(out, kind_name(static_cast<Kind>(kind)));
    out += ":{";
    member(out, "entries", stats.kinds[kind].entries);
    member(out, "value_bytes", stats.kinds[kind].value_bytes);
    member(out, "charged_bytes", stats.kinds[kind].charged_bytes);
    out += '}';
  }
  out += '}';
}

void append_budget(std::string& out, const Stats& stats) {
  member(out, "capacity_bytes", stats.capacity_bytes);
  member(out, "used_bytes", stats.used_bytes);
  member(out, "peak_bytes", stats.peak_bytes);
  member(out, "hits", stats.hits);
  member(out, "misses", stats.misses);
  member(out, "puts", stats.puts);
  member(out, "rejected_puts", stats.rejected_puts);
  member(out, "evictions", stats.evictions);
  member(out, "expirations", stats.expirations);
  member(out, "removals", stats.removals);
  out += ',';
}

void append_disk(std::string& out, const DiskStats& stats) {
  if (stats.directory.empty()) return;
  out += "\"disk\":{";
  member(out, "capacity_bytes", stats.capacity_bytes);
  member(out, "used_bytes", stats.used_bytes);
  member(out, "entries", stats.entries);
  member(out, "value_bytes", stats.value_bytes);
  member(out, "hits", stats.hits);
  member(out, "puts", stats.puts);
  member(out, "dropped_puts", stats.dropped_puts);
  member(out, "evictions", stats.evictions);
  member(out, "corrupt_records", stats.corrupt_records);
  member(out, "read_errors", stats.read_errors);
  member(out, "write_errors", stats.write_errors);
  out += stats.degraded ? ",\"degraded\":true,\"reason\":" : ",\"degraded\":false,\"reason\":";
  append_json_string(out, stats.reason);
  out += "},";
}

void append_entry(std::string& out, const EntryInfo& entry) {
  out += "{\"key\":\"" + entry.key.hex() + "\",\"kind\":";
  append_json_string(out, kind_name(entry.kind));
  out += ",\"value_bytes\":";
  append_json_number(out, entry.value_bytes);
  out += ",\"hits\":";
  append_json_number(out, entry.hits);
  out += ",\"age_ms\":";
  append_json_number(out, std::int64_t{entry.age.count()});
  out += entry.chained ? ",\"chained\":true}" : ",\"chained\":false}";
}

std::optional<std::size_t> parse_limit(std::string_view query) {
  const std::optional<std::string_view> text = query_value(query, "limit");
  if (!text) return kDefaultLimit;
  std::size_t limit = 0;
  const auto end = std::from_chars(text->data(), text->data() + text->size(), limit);
  if (end.ec != std::errc{} || end.ptr != text->data() + text->size()) return std::nullopt;
  return std::min(limit, kMaxLimit);
}

}   // namespace

Reply show_cache(const Service& service, const Caller& caller, std::string_view query) {
  const std::optional<std::size_t> limit = parse_limit(query);
  if (!limit) return problem_reply(bad_field("limit", "limit must be a number from 0 to " + std::to_string(kMaxLimit)));
  const std::uint64_t owner = tenant_owner(caller.tenant);
  // The whole budget and its counters would tell one tenant what the others do.
  const Stats stats = caller.admin ? service.cache.stats() : service.cache.stats(owner);
  Reply reply;
  std::string& out = reply.body;
  out += '{';
  if (caller.admin) append_budget(out, stats);
  if (caller.admin) append_disk(out, service.cache.disk_stats());
  append_kinds(out, stats);
  out += ",\"entries\":[";
  const auto entries = service.cache.list(caller.admin ? std::nullopt : std::optional(owner), *limit);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out += ',';
    append_entry(out, entries[i]);
  }
  out += "]}";
  return reply;
}

Reply clear_cache(Service& service, const Caller& caller) {
  Reply reply;
  reply.body = "{";
  member(reply.body, "removed", service.cache.clear(tenant_owner(caller.tenant)));
  reply.body += '}';
  return reply;
}

}   // namespace tensorcache
