#include "app/commands/disk_commands.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>

#include "base/core/text_table.h"
#include "base/core/units.h"
#include "app/commands/commands.h"
#include "app/options/config_layers.h"
#include "app/commands/logging.h"
#include "app/options/option_set.h"
#include "app/commands/progress.h"
#include "app/commands/running_server.h"
#include "store/disk/disk_tier.h"
#include "store/disk/directory_scan.h"
#include "base/json/json_text.h"

namespace tensorcache::commands {
namespace {

using disk::DirectoryScan;
using disk::ScannedEntry;

std::int64_t now_ms() { return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

struct InspectConfig {
  bool json = false;
  options::OptionSet options{"inspect"};
  InspectConfig() { options.add_flag("--json", json, "print one JSON object instead of the table"); }
};
struct VerifyConfig {
  bool json = false;
  options::OptionSet options{"verify"};
  VerifyConfig() { options.add_flag("--json", json, "print one JSON object instead of text"); }
};
struct PurgeConfig {
  std::string model, tenant, url, api_key;
  std::chrono::milliseconds older_than{0};
  bool all = false;
  options::OptionSet options{"purge"};
  PurgeConfig() {
    options.add_text("--model", "NAME", model, "delete entries of this model: its name, or its number as shown by inspect");
    options.add_text("--tenant", "NAME", tenant, "delete entries of this tenant");
    options.add_duration("--older-than", older_than, "delete entries stored longer ago than this").default_text = "";
    options.add_flag("--all", all, "delete all entries");
    options.add_text("--url", "URL", url, "server that uses the directory").default_text = "from the file serving in the directory";
    options.add_text("--api-key", "KEY", api_key, "admin API key, if the server requires one").default_text = "TENSORCACHE_API_KEY";
  }
};

// Takes the directory out of the arguments; the server's default if there is none.
std::string take_directory(std::vector<std::string>& arguments, const options::OptionSet& options) {
  std::string directory = options.take_argument(arguments, "directory");
  if (!directory.empty()) return directory;
  const std::string folder = options::cache_folder(options::Environment::of_this_process());
  if (folder.empty()) throw options::UsageError("a directory is missing");
  return folder + "/store";
}

DirectoryScan look(file::FileSystem& files, const std::string& directory) {
  DirectoryScan result;
  if (const int error = disk::scan_directory(files, directory, &result)) throw std::runtime_error(directory + ": " + std::strerror(error));
  if (result.segments == 0 && !files.exists(directory + "/LOCK")) throw std::runtime_error(directory + ": is not a cache directory");
  return result;
}

std::string hex(std::uint64_t number) {
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(number));
  return text;
}

std::string name_in(const std::map<std::uint64_t, std::string>& names, std::uint64_t number) {
  const auto name = names.find(number);
  return name == names.end() ? hex(number) : name->second;
}

struct Row {
  std::uint64_t entries = 0, bytes = 0, hits = 0;
  std::int64_t oldest_unix_ms = INT64_MAX, newest_unix_ms = 0;
};
// By source, kind and owner.
using Rows = std::map<std::tuple<std::uint64_t, Kind, std::uint64_t>, Row>;

Rows rows_of(const DirectoryScan& scan) {
  Rows rows;
  for (const auto& [key, entry] : scan.entries) {
    const disk::RecordHeader& header = entry.record.header;
    Row& row = rows[{header.source, header.kind, header.owner}];
    ++row.entries;
    row.bytes += header.value_bytes;
    row.oldest_unix_ms = std::min(row.oldest_unix_ms, header.created_unix_ms);
    row.newest_unix_ms = std::max(row.newest_unix_ms, header.created_unix_ms);
    const auto usage = scan.usage.find(key);
    if (usage != scan.usage.end()) row.hits += usage->second;
  }
  return rows;
}

// Formats an age with its two largest units: "3d4h".
std::string short_age(std::int64_t since_unix_ms) {
  std::chrono::milliseconds age(std::max<std::int64_t>(0, now_ms() - since_unix_ms));
  using std::chrono::hours;
  if (age >= hours(24)) {
    age -= age % hours(1);
  } else if (age >= hours(1)) {
    age -= age % std::chrono::minutes(1);
  } else {
    age -= age % std::chrono::seconds(1);
  }
  return format_duration(age);
}

void print_table(const std::string& directory, const DirectoryScan& scan) {
  std::vector<TableRow> lines{{"model", "kind", "tenant", "entries", "bytes", "hits", "newest", "oldest"}};
  for (const auto& [group, row] : rows_of(scan)) {
    const auto& [source, kind, owner] = group;
    lines.push_back({name_in(scan.names.sources, source), std::string(kind_name(kind)), name_in(scan.names.owners, owner),
                     std::to_string(row.entries), format_size(row.bytes), std::to_string(row.hits), short_age(row.newest_unix_ms),
                     short_age(row.oldest_unix_ms)});
  }
  if (scan.entries.empty()) {
    std::printf("%s: empty (%llu segments, %s)\n", directory.c_str(), static_cast<unsigned long long>(scan.segments),
                format_size(scan.file_bytes).c_str());
    return;
  }
  std::printf("%s: %zu values in %llu segments, %s\n\n", directory.c_str(), scan.entries.size(), static_cast<unsigned long long>(scan.segments),
              format_size(scan.file_bytes).c_str());
  constexpr std::size_t kNames = 3;
  std::fputs(text_table(lines, kNames).c_str(), stdout);
}

void print_troubles(const DirectoryScan& scan) {
  for (const std::string& name : scan.damaged) std::printf("%s: damaged; a server drops it\n", name.c_str());
  for (const std::string& name : scan.unknown) std::printf("%s: written by another version; a server ignores it\n", name.c_str());
  for (const std::string& name : scan.unreadable) std::printf("%s\n", name.c_str());
  if (scan.lost_bytes > 0) std::printf("%s lost to damage or truncated by a crash\n", format_size(scan.lost_bytes).c_str());
}

void append_strings(std::string& out, const char* name, const std::vector<std::string>& values) {
  out += std::string(",\"") + name + "\":[";
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    json::append_json_string(out, values[i]);
  }
  out += ']';
}

void append_number(std::string& out, const char* name, std::uint64_t value) { out += std::string(",\"") + name + "\":" + std::to_string(value); }

std::string head_json(const std::string& directory, const DirectoryScan& scan) {
  std::string out = "{\"directory\":";
  json::append_json_string(out, directory);
  append_number(out, "segments", scan.segments);
  append_number(out, "file_bytes", scan.file_bytes);
  append_number(out, "lost_bytes", scan.lost_bytes);
  append_strings(out, "damaged_segments", scan.damaged);
  append_strings(out, "unknown_segments", scan.unknown);
  append_strings(out, "unreadable_segments", scan.unreadable);
  return out;
}

void print_json(const std::string& directory, const DirectoryScan& scan) {
  std::string out = head_json(directory, scan) + ",\"groups\":[";
  for (const auto& [group, row] : rows_of(scan)) {
    const auto& [source, kind, owner] = group;
    if (out.back() != '[') out += ',';
    out += "{\"model\":";
    json::append_json_string(out, name_in(scan.names.sources, source));
    out += ",\"model_number\":\"" + hex(source) + "\",\"kind\":";
    json::append_json_string(out, kind_name(kind));
    out += ",\"tenant\":";
    json::append_json_string(out, name_in(scan.names.owners, owner));
    append_number(out, "entries", row.entries);
    append_number(out, "value_bytes", row.bytes);
    append_number(out, "hits", row.hits);
    append_number(out, "oldest_unix_ms", static_cast<std::uint64_t>(row.oldest_unix_ms));
    append_number(out, "newest_unix_ms", static_cast<std::uint64_t>(row.newest_unix_ms));
    out += '}';
  }
  std::printf("%s]}\n", out.c_str());
}

// Rejects unknown names: a misspelt one must not look like an empty result.
void check_name(const char* option, const char* what, const std::string& name, const std::set<std::string>& there) {
  if (name.empty() || there.contains(name)) return;
  std::string list;
  for (const std::string& each : there) list += (list.empty() ? "" : ", ") + each;
  throw options::UsageError(std::string(option) + ": no " + what + " '" + name + "' in this directory; " +
                            (list.empty() ? "it is empty" : "found: " + list));
}

void check_names(const PurgeConfig& config, const DirectoryScan& scan) {
  std::set<std::string> models, tenants;
  for (const auto& [group, row] : rows_of(scan)) {
    const auto& [source, kind, owner] = group;
    models.insert(name_in(scan.names.sources, source));
    tenants.insert(name_in(scan.names.owners, owner));
  }
  const bool number =
      std::any_of(scan.entries.begin(), scan.entries.end(), [&](const auto& item) { return hex(item.second.record.header.source) == config.model; });
  if (!number) check_name("--model", "model", config.model, models);
  check_name("--tenant", "tenant", config.tenant, tenants);
}

bool selected(const PurgeConfig& config, const DirectoryScan& scan, const disk::RecordHeader& header) {
  if (config.all) return true;
  if (!config.model.empty() && name_in(scan.names.sources, header.source) != config.model && hex(header.source) != config.model) return false;
  if (!config.tenant.empty() && name_in(scan.names.owners, header.owner) != config.tenant) return false;
  return config.older_than.count() == 0 || header.created_unix_ms < now_ms() - config.older_than.count();
}

}   // namespace

int inspect_command(const std::vector<std::string>& arguments) {
  InspectConfig config;
  std::vector<std::string> rest = arguments;
  const std::string directory = take_directory(rest, config.options);
  config.options.parse(rest, "command line");
  const auto files = file::real_file_system();
  const DirectoryScan scan = look(*files, directory);
  if (config.json) {
    print_json(directory, scan);
  } else {
    print_table(directory, scan);
    print_troubles(scan);
  }
  return kExitOk;
}

int verify_command(const std::vector<std::string>& arguments) {
  VerifyConfig config;
  std::vector<std::string> rest = arguments;
  const std::string directory = take_directory(rest, config.options);
  config.options.parse(rest, "command line");
  start_logging("info", "text");
  const auto files = file::real_file_system();
  const DirectoryScan scan = look(*files, directory);
  Progress progress(Progress::to_log());
  const disk::Verdict verdict = disk::verify(*files, directory, scan, [&](float share) { progress.show("checking " + directory, share); });
  progress.done();
  const bool good = verdict.bad.empty() && scan.damaged.empty() && scan.unreadable.empty();
  if (config.json) {
    std::string out = head_json(directory, scan);
    append_number(out, "good_values", verdict.values);
    append_number(out, "good_bytes", verdict.value_bytes);
    append_strings(out, "bad_values", verdict.bad);
    std::printf("%s,\"good\":%s}\n", out.c_str(), good ? "true" : "false");
  } else {
    for (const std::string& bad : verdict.bad) std::printf("%s\n", bad.c_str());
    print_troubles(scan);
    std::printf("%llu values, %s: %s\n", static_cast<unsigned long long>(verdict.values), format_size(verdict.value_bytes).c_str(),
                good ? "all good" : "good; the items listed above are damaged and are ignored by a server");
  }
  return good ? kExitOk : kExitFailure;
}

namespace {

// RETURNS true if another process holds the directory's lock.
bool is_in_use(file::FileSystem& files, const std::string& directory) {
  int error = 0;
  return files.lock(directory + "/LOCK", &error) == nullptr && error == EWOULDBLOCK;
}

std::string query_of(const PurgeConfig& config) {
  std::string query;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) query += (query.empty() ? "" : "&") + std::string(name) + "=" + percent_encoded(value);
  };
  add("scope", config.all ? "all" : "");
  add("model", config.model);
  add("tenant", config.tenant);
  add("older_than", config.older_than.count() == 0 ? "" : format_duration(config.older_than));
  return query;
}

int purge_through_server(const PurgeConfig& config, const std::string& directory) {
  const std::optional<Serving> known = serving_note(directory);
  if (config.url.empty() && !known) {
    throw std::runtime_error(directory + ": is in use by another process: stop it, or name the server with --url");
  }
  Serving serving = known.value_or(Serving());
  if (!config.url.empty()) serving.url = config.url;
  const char* variable = std::getenv("TENSORCACHE_API_KEY");
  const std::string key = config.api_key.empty() && variable != nullptr ? variable : config.api_key;
  const Deleted deleted = delete_through(serving, key, query_of(config));
  if (deleted.entries == 0) {
    std::printf("no entry matches; the server at %s deleted nothing\n", serving.url.c_str());
  } else {
    std::printf("%llu values deleted by the server at %s%s\n", static_cast<unsigned long long>(deleted.entries), serving.url.c_str(),
                deleted.on_disk ? "; no byte of them is left on disk" : "; overwriting them on disk is in progress");
  }
  return kExitOk;
}

int purge_directory(const PurgeConfig& config, const std::string& directory, file::FileSystem& files) {
  disk::DiskTierOptions options;
  options.directory = directory;
  options.capacity_bytes = UINT64_MAX / 4;
  options.segment_bytes = std::uint64_t{64} << 20;
  options.unix_ms = now_ms;
  disk::DiskTier tier(options);
  if (!tier.wait_ready(std::chrono::minutes(10))) throw std::runtime_error(directory + ": cannot be read");
  const DirectoryScan scan = look(files, directory);
  check_names(config, scan);
  const std::uint64_t before = tier.stats().used_bytes;
  std::uint64_t gone = 0, gone_bytes = 0;
  std::vector<Key> keys;
  for (const auto& [key, entry] : scan.entries) {
    if (!selected(config, scan, entry.record.header)) continue;
    keys.push_back(key);
    gone_bytes += entry.record.header.value_bytes;
  }
  gone = config.all ? tier.clear(std::nullopt) : tier.purge(keys);
  if (!tier.flush(std::chrono::minutes(10))) throw std::runtime_error(directory + ": some entries could not be deleted: " + tier.stats().reason);
  const std::uint64_t after = tier.stats().used_bytes;
  std::printf("%llu values deleted, %s erased; %s of disk space freed, the rest will be reused; %llu values left\n",
              static_cast<unsigned long long>(gone), format_size(gone_bytes).c_str(), format_size(before - std::min(before, after)).c_str(),
              static_cast<unsigned long long>(tier.stats().entries));
  return kExitOk;
}

}   // namespace

int purge_command(const std::vector<std::string>& arguments) {
  PurgeConfig config;
  std::vector<std::string> rest = arguments;
  const std::string directory = take_directory(rest, config.options);
  config.options.parse(rest, "command line");
  const bool some = !config.model.empty() || !config.tenant.empty() || config.older_than.count() != 0;
  if (config.all == some) throw options::UsageError("specify what to delete: --model, --tenant or --older-than (combined with AND), or --all");
  const auto files = file::real_file_system();
  static_cast<void>(look(*files, directory));   // before a tier would create the directory
  return is_in_use(*files, directory) ? purge_through_server(config, directory) : purge_directory(config, directory, *files);
}

std::string inspect_help(std::size_t width) {
  const InspectConfig config;
  return "List the contents of a cache directory by model, kind and tenant. Works while a server uses it.\n\n"
         "Usage: tensorcache inspect [DIR] [OPTIONS]\n" +
         config.options.help(width) + "\nDefault DIR: ~/.cache/tensorcache/store, the default of `tensorcache serve`.\n";
}

std::string verify_help(std::size_t width) {
  const VerifyConfig config;
  return "Verify every byte of a cache directory. Exit code 1 if anything is damaged.\n\n"
         "Usage: tensorcache verify [DIR] [OPTIONS]\n" +
         config.options.help(width) + "\nA server verifies each value before it uses it; this command reports damage earlier.\n";
}

std::string purge_help(std::size_t width) {
  const PurgeConfig config;
  return "Delete entries of a cache directory. If a server uses the directory, the command asks the server (DELETE /cache).\n\n"
         "Usage: tensorcache purge [DIR] [OPTIONS]\n" +
         config.options.help(width) +
         "\nDeleted values are overwritten with zeros, or their segment files are deleted, so that no byte of them is left.\n\n"
         "Examples:\n  tensorcache purge --older-than 30d\n  tensorcache purge --model old-model.gguf\n  tensorcache purge DIR --tenant alice\n";
}

}   // namespace tensorcache::commands
