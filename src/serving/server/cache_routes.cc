#include "serving/server/cache_routes.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include "base/core/units.h"
#include "base/core/limits.h"
#include "base/json/json_document.h"
#include "base/json/json_text.h"
#include "serving/engine/tenant.h"
#include "serving/server/elsewhere.h"

namespace tensorcache::server {
namespace {

constexpr std::size_t kDefaultLimit = 20, kMaxLimit = 1000;
constexpr std::chrono::seconds kDiskTimeout{5};   // for a client that deletes

void member(std::string& out, std::string_view name, std::uint64_t value) {
  if (out.back() != '{') out += ',';
  json::append_json_string(out, name);
  out += ':';
  json::append_json_number(out, value);
}

void append_kinds(std::string& out, const Stats& stats) {
  out += "\"kinds\":{";
  for (std::size_t kind = 0; kind < kKindCount; ++kind) {
    if (kind > 0) out += ',';
    json::append_json_string(out, kind_name(static_cast<Kind>(kind)));
    out += ":{";
    member(out, "entries", stats.kinds[kind].entries);
    member(out, "value_bytes", stats.kinds[kind].value_bytes);
    member(out, "charged_bytes", stats.kinds[kind].charged_bytes);
    out += '}';
  }
  out += '}';
}

void append_budget(std::string& out, const Stats& stats, const sizing::MemoryState& memory) {
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
  out += memory.automatic ? ",\"automatic\":true," : ",\"automatic\":false,";
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
  json::append_json_string(out, stats.reason);
  out += "},";
}

void append_entry(std::string& out, const EntryInfo& entry) {
  out += "{\"key\":\"" + entry.key.hex() + "\",\"kind\":";
  json::append_json_string(out, kind_name(entry.kind));
  out += ",\"value_bytes\":";
  json::append_json_number(out, entry.value_bytes);
  out += ",\"hits\":";
  json::append_json_number(out, entry.hits);
  out += ",\"age_ms\":";
  json::append_json_number(out, std::int64_t{entry.age.count()});
  out += entry.chained ? ",\"chained\":true}" : ",\"chained\":false}";
}

std::optional<std::size_t> parse_limit(std::string_view query) {
  const std::optional<std::string_view> text = protocol::query_value(query, "limit");
  if (!text) return kDefaultLimit;
  std::size_t limit = 0;
  const auto end = std::from_chars(text->data(), text->data() + text->size(), limit);
  if (end.ec != std::errc{} || end.ptr != text->data() + text->size()) return std::nullopt;
  return std::min(limit, kMaxLimit);
}

// Parses a size in bytes from a number or a text.
std::optional<protocol::Problem> read_size(const std::string& name, const boost::json::value& value, std::uint64_t least,
                                           std::optional<std::uint64_t>* bytes) {
  if (value.is_string()) {
    const auto parsed = parse_size(std::string_view(value.get_string()));
    if (!parsed) return protocol::bad_field(name, name + ": " + parsed.error());
    *bytes = *parsed;
  } else {
    boost::system::error_code failed;
    *bytes = value.to_number<std::uint64_t>(failed);
    if (failed) return protocol::bad_field(name, name + " must be a number of bytes or a string like \"4GiB\"");
  }
  if (**bytes < least) return protocol::bad_field(name, name + " must be at least " + format_size(least));
  return std::nullopt;
}

std::optional<protocol::Problem> not_admin(const protocol::Caller& caller) {
  if (caller.admin) return std::nullopt;
  return protocol::Problem{403, "/cache/config changes server-wide settings; an admin API key is required", "", "admin_required", 0};
}

Reply config_reply(const Service& service, std::uint64_t disk_size) {
  const sizing::MemoryState memory = service.memory->state();
  Reply reply;
  reply.body = "{";
  member(reply.body, "memory", memory.capacity_bytes);
  reply.body += memory.automatic ? ",\"memory_auto\":true" : ",\"memory_auto\":false";
  if (!service.cache.disk_stats().directory.empty()) member(reply.body, "disk_size", disk_size);
  reply.body += '}';
  return reply;
}

// The selection of DELETE /cache.
struct Deletion {
  bool all = false;   // of all tenants, requested explicitly
  std::optional<std::string> tenant, model;
  std::optional<std::chrono::milliseconds> older_than;
};

std::optional<protocol::Problem> read_deletion(std::string_view query, Deletion& wanted) {
  while (!query.empty()) {
    const std::string_view parameter = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(parameter.size() + 1, query.size()));
    const std::string name(parameter.substr(0, parameter.find('=')));
    const std::string value = protocol::percent_decoded(parameter.substr(std::min(name.size() + 1, parameter.size())));
    if (name == "scope" && value == "all") {
      wanted.all = true;
      continue;
    }
    if (name == "scope") return protocol::bad_field(name, "scope must be all");
    if (name != "tenant" && name != "model" && name != "older_than") {
      return protocol::bad_field(name, "unknown parameter '" + name + "'; known parameters: tenant, model, older_than and scope",
                                 "unknown_parameter");
    }
    if (value.empty()) return protocol::bad_field(name, name + " must not be empty");
    std::optional<std::string>& text = name == "tenant" ? wanted.tenant : wanted.model;
    if (name == "older_than" ? wanted.older_than.has_value() : text.has_value()) return protocol::bad_field(name, name + " is given twice");
    if (name != "older_than") {
      text = value;
      continue;
    }
    const auto time = parse_duration(value);
    if (!time) return protocol::bad_field(name, name + ": " + time.error());
    wanted.older_than = *time;
  }
  return std::nullopt;
}

// RETURNS all sources of this model, one for each of its settings. `model`: a name, or a number as
// shown by `tensorcache inspect`.
std::vector<std::uint32_t> sources_of(const Service& service, const std::string& model) {
  std::vector<std::uint32_t> sources = service.cache.sources_named(model);
  const auto add = [&](std::uint32_t source) {
    if (std::find(sources.begin(), sources.end(), source) == sources.end()) sources.push_back(source);
  };
  const engine::Engine* engine = service.engine.load();
  if (engine && engine->info().has_name(model)) add(engine->info().source);
  std::uint32_t number = 0;
  const auto end = std::from_chars(model.data(), model.data() + model.size(), number, 16);
  if (sources.empty() && end.ec == std::errc{} && end.ptr == model.data() + model.size()) add(number);
  return sources;
}

Reply config(const Service& service, const protocol::Caller& caller) {
  if (const auto problem = not_admin(caller)) return problem_reply(*problem);
  return config_reply(service, service.cache.disk_stats().capacity_bytes);
}

Reply changed_config(Service& service, const protocol::Caller& caller, std::string_view body) {
  if (const auto problem = not_admin(caller)) return problem_reply(*problem);
  const auto document = json::parse_json(body, {});
  if (!document || !document->is_object()) {
    const std::string why = document ? "the body must be a JSON object" : "the body is not valid JSON: " + document.error();
    return problem_reply({400, why, "", "invalid_json", 0});
  }
  std::optional<std::uint64_t> memory, disk_size;
  bool automatic = false;
  for (const auto& item : document->get_object()) {
    const std::string name(item.key());
    const bool is_memory = name == "memory";
    if (!is_memory && name != "disk_size") return problem_reply(protocol::bad_field(name, "unknown field '" + name + "'", "unknown_parameter"));
    if (!is_memory && service.cache.disk_stats().directory.empty())
      return problem_reply(protocol::bad_field(name, "disk_size: the disk tier is disabled"));
    automatic = automatic || (is_memory && item.value() == "auto");
    if (is_memory && automatic) continue;
    const std::uint64_t least = is_memory ? Limits::kMinMemoryBytes : Limits::kMinServedDiskBytes;
    const auto problem = read_size(name, item.value(), least, is_memory ? &memory : &disk_size);
    if (problem) return problem_reply(*problem);
  }
  const std::uint64_t machine = service.memory->total_bytes();
  if (memory && machine > 0 && *memory > machine) {
    return problem_reply(
        protocol::bad_field("memory", "memory: " + format_size(*memory) + " is more than the memory of this machine (" + format_size(machine) + ")"));
  }
  if (disk_size) service.cache.resize_disk(*disk_size);
  if (automatic) service.memory->set_automatic();
  if (memory) service.memory->set(*memory);
  return config_reply(service, disk_size.value_or(service.cache.disk_stats().capacity_bytes));
}

Reply listing(const Service& service, const protocol::Caller& caller, std::string_view query) {
  const std::optional<std::size_t> limit = parse_limit(query);
  if (!limit) return problem_reply(protocol::bad_field("limit", "limit must be a number from 0 to " + std::to_string(kMaxLimit)));
  const std::uint64_t owner = engine::tenant_owner(caller.tenant);
  // Global counters would reveal other tenants' activity.
  const Stats stats = caller.admin ? service.cache.stats() : service.cache.stats(owner);
  Reply reply;
  std::string& out = reply.body;
  out += '{';
  if (caller.admin) append_budget(out, stats, service.memory->state());
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

// Checks whether the caller may delete the selection.
std::optional<protocol::Problem> not_allowed(const Service& service, const protocol::Caller& caller, const Deletion& wanted) {
  using protocol::Problem;
  const bool shared = service.options.share_across_tenants;
  if (!caller.admin && shared)
    return Problem{403, "tenants share their entries (--share-across-tenants); deleting them requires an admin API key", "", "admin_required", 0};
  if (!caller.admin && wanted.all) return Problem{403, "deleting the entries of all tenants requires an admin API key", "scope", "admin_required", 0};
  if (wanted.all && wanted.tenant) return protocol::bad_field("scope", "scope=all and tenant are mutually exclusive");
  if (shared && wanted.tenant && *wanted.tenant != protocol::kSharedByAll) {
    return protocol::bad_field("tenant", "tenants share their entries (--share-across-tenants); they cannot be selected by tenant");
  }
  if (!caller.admin && wanted.tenant && *wanted.tenant != caller.tenant) {
    return Problem{403, "deleting another tenant's entries requires an admin API key", "tenant", "admin_required", 0};
  }
  return std::nullopt;
}

struct Cleared {
  std::optional<Reply> refused;
  std::uint64_t removed = 0;
};

Cleared cleared(Service& service, const protocol::Caller& caller, std::string_view query) {
  Deletion wanted;
  if (const auto problem = read_deletion(query, wanted)) return {problem_reply(*problem)};
  if (const auto problem = not_allowed(service, caller, wanted)) return {problem_reply(*problem)};
  if (!caller.admin) wanted.tenant = caller.tenant;
  Selection what{.older_than = wanted.older_than};
  if (wanted.tenant) what.owner = engine::tenant_owner(*wanted.tenant == protocol::kSharedByAll ? "" : *wanted.tenant);
  if (!wanted.model) return {std::nullopt, service.cache.clear(what)};
  const std::vector<std::uint32_t> sources = sources_of(service, *wanted.model);
  if (sources.empty()) return {problem_reply({404, "no entries of a model '" + *wanted.model + "' are known", "model", "model_not_found", 0})};
  Cleared result;
  for (const std::uint32_t source : sources) {
    what.source = source;
    result.removed += service.cache.clear(what);
  }
  return result;
}

// Waits until deletions are on disk as well. RETURNS false on timeout.
Task<bool> until_forgotten(Exchange& exchange) {
  struct State {
    std::atomic<bool> over{false}, written{false};
  };
  const auto state = std::make_shared<State>();
  const WakeupScope scope(exchange.connection);
  exchange.service.cache.when_flushed([wake = scope.wake(), state](bool written) {
    state->written.store(written);
    state->over.store(true);
    wake();
  });
  Timer timeout(exchange.connection->socket().get_executor(), kDiskTimeout);
  timeout.async_wait([connection = exchange.connection, state](boost::system::error_code error) {
    if (!error) state->over.store(true);
    Connection::wake(connection);
  });
  while (!state->over.load()) co_await exchange.connection->wait();
  timeout.cancel();
  co_return state->written.load();
}

}   // namespace

Task<bool> show_config(Exchange& exchange) {
  Reply reply = config(exchange.service, *exchange.caller);
  co_return co_await send(exchange, std::move(reply));
}

Task<bool> change_config(Exchange& exchange) {
  auto job = [&service = exchange.service, caller = *exchange.caller, body = std::exchange(exchange.request.body, {})] {
    return changed_config(service, caller, body);
  };
  auto waiting = elsewhere(exchange.connection, exchange.service.workers, std::move(job));
  Reply reply = co_await std::move(waiting);
  co_return co_await send(exchange, std::move(reply));
}

Task<bool> show_cache(Exchange& exchange) {
  auto job = [&service = exchange.service, caller = *exchange.caller, query = std::string(exchange.match.query)] {
    return listing(service, caller, query);
  };
  auto waiting = elsewhere(exchange.connection, exchange.service.workers, std::move(job));
  Reply reply = co_await std::move(waiting);
  co_return co_await send(exchange, std::move(reply));
}

Task<bool> clear_cache(Exchange& exchange) {
  auto job = [&service = exchange.service, caller = *exchange.caller, query = std::string(exchange.match.query)] {
    return cleared(service, caller, query);
  };
  auto waiting = elsewhere(exchange.connection, exchange.service.workers, std::move(job));
  Cleared result = co_await std::move(waiting);
  if (result.refused) co_return co_await send(exchange, std::move(*result.refused));
  const bool on_disk = co_await until_forgotten(exchange);
  Reply reply;
  reply.body = "{";
  member(reply.body, "removed", result.removed);
  reply.body += on_disk ? "}" : R"(,"on_disk":"pending"})";
  co_return co_await send(exchange, std::move(reply));
}

}   // namespace tensorcache::server
