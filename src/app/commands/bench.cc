#include "app/commands/bench.h"

#include <cstdio>

#include "app/commands/commands.h"
#include "app/commands/progress.h"
#include "app/options/config_layers.h"
#include "app/options/option_set.h"
#include "app/options/suggest.h"
#include "tools/loadgen/report.h"
#include "tools/loadgen/run.h"
#include "tools/loadgen/trace.h"
#include "base/net/url.h"
#include "tools/loadgen/workload.h"

namespace tensorcache::commands {
namespace {

const std::vector<std::string>& workload_names() {
  static const std::vector<std::string> names{"conversations", "burst", "repeat", "unrelated", "trace"};
  return names;
}

struct BenchConfig {
  BenchConfig() : options("bench") {
    declare_server();
    declare_work();
    declare_output();
  }
  BenchConfig(const BenchConfig&) = delete;   // `options` points into this
  BenchConfig& operator=(const BenchConfig&) = delete;

  loadgen::RunOptions run;
  options::OptionSet options;
  std::string history_path, save_replies, trace_path, config_path;
  std::vector<std::string> headers;
  int from_turn = 1;
  int seed = 1, concurrency = 0, out_tokens = 16;
  int conversations = 24, turns = 3, system_words = 400, document_words = 300, question_words = 36;
  int clients = 8, prefix_words = 760, requests = 20, prompt_words = 400;
  int limit = 0, trace_block = 512, max_input = 0;
  double speedup = 1;
  bool json = false, print_config = false;

  [[nodiscard]] loadgen::Workload workload(const std::string& name) const;
  void finish();

 private:
  void declare_server();
  void declare_work();
  void declare_output();
};

void BenchConfig::declare_server() {
  options.group("Server");
  options.add_text("--url", "URL", run.url, "server to measure: any OpenAI-compatible chat completions endpoint");
  options.add_text("--api-key", "KEY", run.api_key, "sent as a bearer token").secret = true;
  options.add_text("--model", "NAME", run.model, "model to request").default_text = "the first model the server lists";
  options.add_list("--header", "'NAME: VALUE'", headers, "header to send with each request; may be repeated");
  options.add_text("--body", "JSON", run.extra_body, "JSON object whose members are added to each request");

  options.group("Requests");
  options.add_int("--concurrency", "N", concurrency, "maximum concurrent requests", 0, 4096).default_text = "1; trace: 64";
  options.add_int("--out-tokens", "N", out_tokens, "maximum tokens to generate; with trace, 0: as recorded", 0);
  options.add_real("--temperature", "X", run.temperature, "sampling temperature; 0: greedy", 0, 10);
  options.add_int("--seed", "N", seed, "seed of the generated prompts");
  options.add_flag("--logprobs", run.logprobs, "request the log probability of each token");
  options.add_text("--history", "FILE", history_path, "continue conversations from the replies in this --save-replies file");
  options.add_int("--from-turn", "N", from_turn, "start at this turn; replies to earlier turns are read from --history", 1, 10'000);
  options.add_duration("--timeout", run.timeout, "timeout of one request");
  options.add_duration("--max-time", run.max_time, "time limit of the whole run; remaining requests are cancelled").default_text = "none";
}

void BenchConfig::declare_work() {
  options.group("conversations");
  options.add_int("--conversations", "N", conversations, "number of conversations, in rotation", 1, 1'000'000);
  options.add_int("--turns", "N", turns, "questions per conversation", 1, 10'000);
  options.add_int("--system-words", "N", system_words, "words of the shared system prompt");
  options.add_int("--document-words", "N", document_words, "words of each conversation's document");
  options.add_int("--question-words", "N", question_words, "words of each question (also for burst)", 1);

  options.group("burst");
  options.add_int("--clients", "N", clients, "requests that start at the same time", 1, 4096);
  options.add_int("--prefix-words", "N", prefix_words, "words of the shared prefix", 1);

  options.group("repeat, unrelated");
  options.add_int("--requests", "N", requests, "number of requests (of each kind)", 1, 1'000'000);
  options.add_int("--prompt-words", "N", prompt_words, "words of a prompt", 1);

  options.group("trace");
  options.add_text("--trace", "FILE", trace_path, "trace of JSON lines in Mooncake's format, may be gzipped");
  options.add_real("--speedup", "X", speedup, "replay speed: 2: twice as fast as recorded; 0: as fast as --concurrency allows", 0, 1e9);
  options.add_int("--limit", "N", limit, "replay only the first N requests").default_text = "all";
  options.add_int("--trace-block", "N", trace_block, "tokens per hash_id of the trace", 1);
  options.add_int("--max-input", "N", max_input, "skip prompts with more tokens").default_text = "none";
}

void BenchConfig::declare_output() {
  options.group("Output and configuration");
  options.add_flag("--json", json, "print one JSON object instead of the table");
  options.add_text("--save-replies", "FILE", save_replies, "write every reply, one JSON object per line");
  options::OptionSet::Item& config = options.add_text("--config", "FILE", config_path, "read options from a TOML file");
  config.default_text = "~/.config/tensorcache/config.toml if it exists";
  config.command_line_only = true;
  options.add_flag("--print-config", print_config, "print each option's effective value and source, and exit").command_line_only = true;
}

void BenchConfig::finish() {
  if (!net::parse_url(run.url)) throw options::UsageError("--url: '" + run.url + "' is not a URL such as http://127.0.0.1:8080");
  if (!run.extra_body.empty() && !loadgen::is_json_object(run.extra_body)) throw options::UsageError("--body: is not a JSON object");
  for (const std::string& header : headers) {
    const std::size_t colon = header.find(':');
    if (colon == 0 || colon == std::string::npos || header.find_first_of("\r\n") != std::string::npos) {
      throw options::UsageError("--header: '" + header + "' is not of the form 'Name: value'");
    }
    const std::size_t value = header.find_first_not_of(' ', colon + 1);
    run.headers.emplace_back(header.substr(0, colon), value == std::string::npos ? "" : header.substr(value));
  }
}

loadgen::Workload BenchConfig::workload(const std::string& name) const {
  const auto count = [](int number) { return static_cast<std::size_t>(number); };
  if (name == "trace") {
    if (trace_path.empty()) throw options::UsageError("--trace: is required: the file to replay");
    loadgen::TraceOptions trace;
    trace.path = trace_path;
    trace.speedup = speedup;
    trace.limit = count(limit);
    trace.block_tokens = count(trace_block);
    trace.max_input = count(max_input);
    trace.max_output = options.find("out-tokens")->origin == "default" ? 0 : out_tokens;
    trace.concurrency = concurrency > 0 ? count(concurrency) : 64;
    trace.seed = count(seed);
    return loadgen::read_trace(trace);
  }
  if (out_tokens == 0) throw options::UsageError("--out-tokens: 0 is out of range: it must be at least 1");
  loadgen::Shape shape;
  shape.seed = count(seed);
  shape.conversations = count(conversations);
  shape.turns = count(turns);
  shape.system_words = count(system_words);
  shape.document_words = count(document_words);
  shape.question_words = count(question_words);
  shape.clients = count(clients);
  shape.prefix_words = count(prefix_words);
  shape.requests = count(requests);
  shape.prompt_words = count(prompt_words);
  shape.concurrency = concurrency > 0 ? count(concurrency) : 1;
  shape.out_tokens = out_tokens;
  if (name == "conversations") return loadgen::conversations(shape);
  if (name == "burst") return loadgen::burst(shape);
  if (name == "repeat") return loadgen::repeat(shape);
  return loadgen::unrelated(shape);
}

}   // namespace

std::string bench_help(std::size_t width) {
  const BenchConfig config;
  return "Measure an OpenAI-compatible server: latency, throughput and reused tokens.\n\n"
         "Usage: tensorcache bench WORKLOAD [OPTIONS]\n\n"
         "Workloads:\n"
         "  conversations  several in rotation: a shared system prompt, a document for each, then questions\n"
         "  burst          concurrent clients that ask about one long text that is not cached yet\n"
         "  repeat         the identical request again and again\n"
         "  unrelated      prompts with no common prefix: prefill and decode without cache hits\n"
         "  trace          a recorded trace in Mooncake's format\n" +
         config.options.help(width) + R"(
Prompts are made of common English words, about one token each; the same --seed gives the same prompts. "First token" is the time
to the first byte of content; "reused" is the server's usage.prompt_tokens_details.cached_tokens.
Every option can also be set in the [bench] section of the TOML file or in an environment variable (TENSORCACHE_BENCH_URL).
Precedence: command line > environment variables > config file.

Examples:
  tensorcache bench conversations
  tensorcache bench burst --clients 16 --prefix-words 2000 --url http://127.0.0.1:8080
  tensorcache bench repeat --requests 100 --json
  tensorcache bench trace --trace conversation.jsonl.gz --limit 200 --speedup 10 --max-input 8000
)";
}

int bench_command(const std::vector<std::string>& arguments) {
  BenchConfig config;
  std::vector<std::string> rest = arguments;
  std::string name;
  if (!rest.empty() && !rest[0].starts_with('-')) {
    name = rest[0];
    rest.erase(rest.begin());
  }
  options::read_layers(config.options, rest, options::Environment::of_this_process(), config_sections());
  if (config.print_config) {
    std::fputs(config.options.print_config().c_str(), stdout);
    return kExitOk;
  }
  if (name.empty()) throw options::UsageError("a workload is missing: conversations, burst, repeat, unrelated or trace");
  bool known = false;
  for (const std::string& each : workload_names()) known = known || each == name;
  if (!known) throw options::UsageError(name + ": unknown workload" + options::did_you_mean(name, workload_names()));
  config.finish();
  const loadgen::Workload workload = config.workload(name);
  loadgen::History history;
  if (!config.history_path.empty()) {
    history = loadgen::read_replies(config.history_path);
    config.run.history = &history;
  }
  if (config.from_turn > 1 && config.history_path.empty())
    throw options::UsageError("--from-turn: requires --history with the replies to the earlier turns");
  config.run.first_phase = static_cast<std::size_t>(config.from_turn) - 1;
  Progress progress(Progress::to_terminal());   // standard output has the result
  const loadgen::Result result = loadgen::run(workload, config.run, [&](const loadgen::ProgressReport& report) {
    const std::string what = report.phase + ": " + std::to_string(report.done) + " of " + std::to_string(report.total) + " requests";
    progress.show(what, report.total == 0 ? 0 : static_cast<double>(report.done) / static_cast<double>(report.total));
  });
  progress.done();
  if (!config.save_replies.empty()) loadgen::save_replies(config.save_replies, workload, result);
  const std::vector<loadgen::Summary> summaries = loadgen::summaries(workload, result);
  if (config.json) {
    std::fputs(loadgen::json_report(workload, result, config.run.url).c_str(), stdout);
  } else {
    std::printf("%s, %s, model %s\n\n%s", workload.name.c_str(), config.run.url.c_str(), result.model.c_str(), loadgen::table(summaries).c_str());
  }
  return summaries.back().errors == 0 ? kExitOk : kExitFailure;
}

}   // namespace tensorcache::commands
