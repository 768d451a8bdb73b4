#include "app/commands/simulate.h"

#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/core/text_table.h"
#include "base/core/units.h"
#include "app/commands/commands.h"
#include "app/commands/progress.h"
#include "app/options/config_layers.h"
#include "app/options/option_set.h"
#include "app/options/suggest.h"
#include "store/policy/policy.h"
#include "tools/simulate/report.h"

namespace tensorcache::commands {
namespace {

using namespace simulate;
using Clock = std::chrono::steady_clock;

struct SimulateConfig {
  std::vector<std::string> policies{"lru", "min"}, sizes{"1%", "5%", "10%", "20%", "50%"};
  std::string format = "auto", plot, csv;
  std::uint64_t block_bytes = 0;
  double hint_recall = 0, tokens_per_second = 0;
  bool skip_bad = false, force = false, json = false;
  int threads = 0;
  options::OptionSet options{"simulate"};

  SimulateConfig() {
    options.add_list("--policy", "NAME", policies, "policies to compare, comma-separated (see: tensorcache policies); min is Belady's optimum")
        .default_text = "lru,min";
    options.add_list("--size", "SIZE", sizes, "cache sizes, comma-separated: 5% of the distinct blocks or bytes, 4096 blocks or keys, 2GiB")
        .default_text = "1%,5%,10%,20%,50%";
    options.add_choice("--format", format, {"auto", "mooncake", "keys", "sized"},
                       "trace format: JSON lines with hash_ids; one key per line; key,size lines");
    options.add_size("--block-bytes", block_bytes, "bytes per block, for sizes in bytes").default_text = "";
    options.add_real("--hint-recall", "SHARE", hint_recall, "simulate end_of_conversation hints for this fraction of finished conversations", 0, 1)
        .default_text = "0";
    options.add_real("--prefill-speed", "TOKENS/S", tokens_per_second, "prefill speed, to report the seconds saved", 0, 1e9).default_text = "";
    options.add_flag("--skip-bad", skip_bad, "skip malformed lines and report their number");
    options.add_flag("--force", force, "allow policies that are not suited to prefix blocks");
    options.add_flag("--json", json, "print one JSON object instead of the table");
    options.add_text("--csv", "FILE", csv, "also write the results as CSV");
    options.add_text("--plot", "FILE", plot, "also write a plot: FILE.svg or FILE.html");
    options.add_int("--threads", "N", threads, "concurrent simulations", 0, 1024).default_text = "all cores";
  }
};

std::vector<std::string> policy_choices() {
  std::vector<std::string> names{"min"};
  for (const policy::PolicyInfo& info : policy::policies()) names.emplace_back(info.name);
  return names;
}

// Splits "a,b" and "c" into a, b, c.
void split_commas(std::vector<std::string>* values) {
  std::vector<std::string> all;
  for (const std::string& value : *values) {
    for (std::size_t at = 0; at <= value.size();) {
      const std::size_t comma = std::min(value.find(',', at), value.size());
      if (comma > at) all.push_back(value.substr(at, comma - at));
      at = comma + 1;
    }
  }
  *values = std::move(all);
}

void check_policies(const SimulateConfig& config) {
  for (const std::string& name : config.policies) {
    if (name != "min" && policy::find_policy(name) == nullptr)
      throw options::UsageError("--policy: '" + name + "' is unknown" + options::did_you_mean(name, policy_choices()));
  }
}

void check_prefixes(const SimulateConfig& config) {
  for (const std::string& name : config.policies) {
    const policy::PolicyInfo* info = policy::find_policy(name);
    if (config.force || info == nullptr || info->fits_prefixes) continue;
    throw options::UsageError(
        "--policy: " + name +
        " is for independent keys; for prefix blocks its miss ratio is higher than lru's, up to eight times (docs/policies.md). " +
        "Use --force to simulate it");
  }
}

// RETURNS 0 for a share that is less than one block.
std::uint64_t size_of(const std::string& text, std::uint64_t block_bytes, const Recording& recording, const std::string& unit) {
  const auto refuse = [&](const std::string& why) -> options::UsageError { return options::UsageError("--size: '" + text + "' " + why); };
  std::uint64_t size = 0;
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc() && stop + 1 == end && *stop == '%') {
    if (!(number > 0 && number <= 100)) throw refuse("must be above 0% and at most 100%");
    size = static_cast<std::uint64_t>(std::llround(number / 100 * static_cast<double>(recording.distinct_bytes())));
  } else if (unit != "bytes" && error == std::errc() && stop == end) {
    if (!(number >= 1 && number < 1e15) || number != std::floor(number)) throw refuse("is not a whole number of " + unit + " of at least 1");
    size = static_cast<std::uint64_t>(number);
  } else {
    const auto bytes = parse_size(text);
    if (!bytes) throw refuse(bytes.error());
    if (unit != "bytes" && block_bytes == 0) throw refuse("is in bytes, but the trace has no sizes; set --block-bytes");
    size = unit == "bytes" ? *bytes : *bytes / block_bytes;
    if (size == 0) throw refuse("is less than one block");
  }
  return size;
}

// Default shares that are 0 or equal for a short recording are skipped; a requested one is an
// error.
void add_findings(const SimulateConfig& config, const Recording& recording, Report* report) {
  const bool asked = config.options.find("size")->origin != "default";
  std::vector<std::uint64_t> done;
  for (const std::string& text : config.sizes) {
    const std::uint64_t size = size_of(text, report->block_bytes, recording, report->unit);
    if (size == 0 && asked) {
      throw options::UsageError("--size: the trace has " + std::to_string(recording.distinct_bytes()) + " " + report->unit + "; " + text +
                                " of them is less than one: try --size 50%, or a number of " + report->unit);
    }
    if (size == 0 || (!asked && std::find(done.begin(), done.end(), size) != done.end())) continue;
    done.push_back(size);
    for (const std::string& policy : config.policies)
      report->findings.push_back({{policy, size, policy == "min" ? 0 : config.hint_recall}, text, {}, 0});
  }
}

void simulate_all(const Recording& recording, int threads, Progress* progress, Report* report) {
  const bool hints = std::any_of(report->findings.begin(), report->findings.end(), [](const Finding& f) { return f.setting.hint_recall > 0; });
  const std::vector<bool> ends = hints ? last_of_conversation(recording) : std::vector<bool>();
  std::atomic<std::size_t> next{0}, done{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (std::size_t i = next++; i < report->findings.size(); i = next++) {
      Finding& finding = report->findings[i];
      try {
        const auto begin = Clock::now();
        finding.outcome = replay(recording, finding.setting, ends);
        finding.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
        next = report->findings.size();
      }
      const std::lock_guard lock(mutex);
      progress->show("simulating", static_cast<double>(++done) / static_cast<double>(report->findings.size()));
    }
  };
  std::vector<std::jthread> workers;
  for (int i = 1; i < threads; ++i) workers.emplace_back(work);
  work();
  workers.clear();
  if (failure) std::rethrow_exception(failure);
}

void write_file(const std::string& option, const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw std::runtime_error(option + ": " + path + " cannot be written");
}

Format format_named(const std::string& name) {
  if (name == "mooncake") return Format::kMooncake;
  if (name == "keys") return Format::kKeys;
  return name == "sized" ? Format::kSized : Format::kAuto;
}

Report simulated(const SimulateConfig& config, const std::string& trace) {
  Progress progress(Progress::to_terminal());
  const ReadResult read =
      read_recording({.path = trace, .format = format_named(config.format), .skip_bad = config.skip_bad, .progress = [&](double share) {
                        progress.show("reading", share);
                      }});
  const Recording& recording = read.recording;
  if (read.bad_lines > 0)
    std::fprintf(stderr, "tensorcache: %llu malformed lines skipped, the first: %s\n", static_cast<unsigned long long>(read.bad_lines),
                 read.first_bad.c_str());
  if (config.format == "auto" && read.format == Format::kKeys)
    std::fputs("tensorcache: the trace is read as one key per line; use --format to change that\n", stderr);
  if (recording.chained()) check_prefixes(config);
  Report report;
  report.trace = trace.substr(trace.find_last_of('/') + 1);
  report.unit = read.format == Format::kMooncake ? "blocks" : read.format == Format::kSized ? "bytes" : "keys";
  report.requests = recording.steps().size();
  report.accesses = recording.blocks().size();
  report.distinct = recording.distinct();
  report.distinct_size = recording.distinct_bytes();
  report.bad_lines = read.bad_lines;
  if (config.tokens_per_second > 0) report.tokens_per_second = config.tokens_per_second;
  report.block_bytes = config.block_bytes > 0 ? config.block_bytes : read.block_bytes;
  add_findings(config, recording, &report);
  const int threads = config.threads > 0 ? config.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  simulate_all(recording, threads, &progress, &report);
  return report;
}

}   // namespace

std::string simulate_help(std::size_t width) {
  const SimulateConfig config;
  return "Replay a recorded trace against several cache sizes and eviction policies, and recommend a size and a policy.\n\n"
         "Usage: tensorcache simulate TRACE [OPTIONS]\n\n"
         "TRACE may be gzipped: Mooncake's JSON lines with hash_ids, one key per line, or key,size lines.\n" +
         config.options.help(width) + R"(
The server and the simulator run the same policy code. "miss ratio" is the fraction of requested blocks not covered by the longest
cached prefix; for independent keys, the fraction of requests that miss.

Examples:
  tensorcache simulate conversation.jsonl.gz
  tensorcache simulate conversation.jsonl.gz --policy lru,clock,min --size 1%,10%,4096 --plot misses.html
  tensorcache simulate keys.txt --policy lru,s3fifo,wtinylfu --size 1000,10000 --json
)";
}

int simulate_command(const std::vector<std::string>& arguments) {
  SimulateConfig config;
  std::vector<std::string> rest = arguments;
  const std::string trace = config.options.take_argument(rest, "trace");
  if (trace.empty()) throw options::UsageError("a trace is missing");
  options::read_layers(config.options, rest, options::Environment::of_this_process(), config_sections());
  split_commas(&config.policies);
  split_commas(&config.sizes);
  check_policies(config);
  if (config.sizes.empty()) throw options::UsageError("--size: a size is missing");
  for (const auto& [option, path] : {std::pair("--csv", config.csv), std::pair("--plot", config.plot)}) {
    std::error_code ignored;
    if (!path.empty() && std::filesystem::equivalent(path, trace, ignored))
      throw options::UsageError(std::string(option) + ": " + path + " is the trace");
  }
  const bool drawable = config.plot.empty() || config.plot.ends_with(".svg") || config.plot.ends_with(".html");
  if (!drawable) throw options::UsageError("--plot: " + config.plot + " ends neither in .svg nor in .html");
  const Report report = simulated(config, trace);
  if (!config.csv.empty()) write_file("--csv", config.csv, csv(report));
  if (!config.plot.empty()) write_file("--plot", config.plot, config.plot.ends_with(".svg") ? svg(report) : html(report));
  const std::string text = config.json ? json(report) : table(report) + "\n" + advice(report) + "\n";
  return std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0 ? kExitOk : kExitFailure;
}

int policies_command(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) throw options::UsageError(arguments[0] + ": unexpected argument");
  std::vector<TableRow> rows{{"policy", "prefixes", "evicts"}};
  for (const policy::PolicyInfo& info : policy::policies())
    rows.push_back({std::string(info.name), info.fits_prefixes ? "yes" : "no", std::string(info.summary)});
  const std::string text =
      text_table(rows, rows[0].size()) +
      "\n\"prefixes\": whether the policy is suited to prefix blocks; `no`: only for responses, tensors and other independent keys.\n";
  return std::fputs(text.c_str(), stdout) >= 0 ? kExitOk : kExitFailure;
}

}   // namespace tensorcache::commands
