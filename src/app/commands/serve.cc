#include "app/commands/serve.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "base/core/field_error.h"
#include "base/core/units.h"
#include "app/commands/access_log.h"
#include "app/commands/commands.h"
#include "app/commands/logging.h"
#include "app/commands/progress.h"
#include "app/commands/reload.h"
#include "app/commands/running_server.h"
#include "app/commands/serve_config.h"
#include "store/sizing/capacity_controller.h"
#include "serving/protocol/tenants.h"
#include "serving/engine/tenant.h"
#include "tools/trace/recorder.h"

namespace tensorcache::commands {
namespace {

// A cancelled engine completes its current step first, which can take seconds.
constexpr std::chrono::seconds kLastReplies{5};
constexpr std::chrono::seconds kLastWrites{20};

// Signals that are blocked in every later thread, to be waited for.
struct Signals {
  sigset_t stop, all;            // `stop`: SIGINT and SIGTERM; `all`: also SIGHUP
  bool hangup_ignored = false;   // by the parent, for example nohup
};

Signals hold_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);   // treat a file size limit as a full disk
  Signals signals;
  sigemptyset(&signals.stop);
  sigaddset(&signals.stop, SIGINT);
  sigaddset(&signals.stop, SIGTERM);
  signals.all = signals.stop;
  sigaddset(&signals.all, SIGHUP);
  struct sigaction hangup{};
  signals.hangup_ignored = ::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
  pthread_sigmask(SIG_BLOCK, &signals.all, nullptr);
  return signals;
}

int wait_for_signal(const sigset_t& signals) {
  int number = 0;
  while (sigwait(&signals, &number) != 0) {
  }
  return number;
}

// RETURNS 0 on timeout.
int signal_within(const sigset_t& signals, std::chrono::milliseconds time) {
  timespec limit{};
  limit.tv_sec = time.count() / 1000;
  limit.tv_nsec = (time.count() % 1000) * 1'000'000;
  return std::max(0, sigtimedwait(&signals, nullptr, &limit));
}

bool has_terminal() {
  const int terminal = ::open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
  if (terminal >= 0) ::close(terminal);
  return terminal >= 0;
}

// Handles SIGHUP.
class SighupHandler {
 public:
  SighupHandler(Reloader& reloader, bool ignored) : reloader_(reloader), ignored_(ignored) {}
  // RETURNS true if the server should stop: its terminal was closed and SIGHUP is not ignored.
  // Otherwise reloads the configuration.
  [[nodiscard]] bool should_stop() {
    if (had_terminal_ && !has_terminal()) {
      had_terminal_ = false;
      return !ignored_;
    }
    const Reloaded done = reloader_.reload();
    if (!done.error.empty()) {
      spdlog::error("SIGHUP: the running configuration is kept: {}", done.error);
      return false;
    }
    for (const std::string& warning : done.warnings) spdlog::warn("SIGHUP: {}", warning);
    for (const std::string& change : done.changes) spdlog::info("SIGHUP: {}", change);
    if (!done.needs_restart.empty()) spdlog::warn("SIGHUP: these changes require a restart: {}", fmt::join(done.needs_restart, ", "));
    if (done.changes.empty() && done.needs_restart.empty()) spdlog::info("SIGHUP: configuration reloaded, no changes");
    return false;
  }

 private:
  Reloader& reloader_;
  const bool ignored_;
  bool had_terminal_ = has_terminal();
};

std::string shown_url(const std::string& host, std::uint16_t port) {
  const bool bare_ipv6 = host.find(':') != std::string::npos && !host.starts_with('[');
  return "http://" + (bare_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

// Says in tokens of the model what the budgets hold.
void announce_tokens(const engine::EngineInfo& info, std::uint64_t memory_bytes, const DiskStats& disk) {
  if (info.block_bytes == 0) return;
  const auto tokens = [&](std::uint64_t bytes) { return bytes / info.block_bytes * static_cast<std::uint64_t>(info.block_tokens); };
  const std::uint64_t token_bytes = info.block_bytes / static_cast<std::uint64_t>(info.block_tokens);
  const std::string on_disk = disk.directory.empty() ? "" : ", about " + std::to_string(tokens(disk.capacity_bytes)) + " on disk";
  spdlog::info("K/V of one token is {:.1f} KiB: about {} tokens fit in memory{}", static_cast<double>(token_bytes) / 1024, tokens(memory_bytes),
               on_disk);
  if (tokens(memory_bytes) < static_cast<std::uint64_t>(info.context_tokens)) {
    spdlog::warn("the memory holds fewer tokens than the context of one request, {}: longer prompts are not cached whole (--memory)",
                 info.context_tokens);
  }
}

void announce_disk(const DiskStats& disk) {
  if (disk.directory.empty()) return;
  const std::string found = !disk.ready         ? "recovery in progress"
                            : disk.entries == 0 ? "empty"
                                                : std::to_string(disk.entries) + " entries, " + format_size(disk.used_bytes) + " found";
  spdlog::info("disk cache {}: {}, limit {}", disk.directory, found, format_size(disk.capacity_bytes));
  spdlog::info("the KV cache and responses are written there unencrypted (--disk off: memory only)");
}

void announce(const ServeConfig& config, const engine::EngineInfo& info, const Cache& cache, std::uint64_t memory_bytes, std::uint16_t port) {
  const std::string memory = format_size(memory_bytes) + " of memory" + (config.memory_auto ? " (auto)" : "") + ", policy " + config.cache.policy;
  spdlog::info("model {}, {} slots, context of {} tokens, up to {} for one request, {} threads", info.model_name, config.llama.parallel,
               info.total_context_tokens, info.context_tokens, info.threads);
  if (info.prefix_reuse) {
    spdlog::info("cache {}, prefix caching on, response cache {}", memory, config.server.cache_answers ? "on" : "off");
  } else {
    spdlog::warn("prefix caching off: {}; cache {}, response cache {}",
                 info.prefix_reuse_note.empty() ? "disabled by option" : info.prefix_reuse_note, memory, config.server.cache_answers ? "on" : "off");
  }
  announce_disk(cache.disk_stats());
  announce_tokens(info, memory_bytes, cache.disk_stats());
  spdlog::info("listening on {}", shown_url(config.server.host, port));
}

// Loads the engine. Throws what loading throws; SIGINT or SIGTERM meanwhile ends the process.
std::unique_ptr<engine::Engine> load_engine(const ServeConfig& config, Cache& cache, const Signals& signals, SighupHandler& sighup,
                                            trace::Recorder* recorder) {
  const std::string what = "loading " + config.llama.model_path;
  Progress progress(Progress::to_log());
  engine::FinishedObserver record;   // REQUIRES: the recorder outlives the engine
  if (recorder != nullptr) {
    record = [recorder](const engine::FinishedRequest& request) {
      recorder->add(request.prompt_blocks, request.input_tokens, request.output_tokens);
    };
  }
  auto loading = std::async(std::launch::async, [&] {
    return llama::make_llama_engine(config.llama, cache, [&](float fraction) { progress.show(what, fraction); }, std::move(record));
  });
  while (loading.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    const int number = signal_within(signals.all, std::chrono::milliseconds(20));
    if (number == 0 || (number == SIGHUP && !sighup.should_stop())) continue;
    // Loading cannot be cancelled; exiting frees everything it holds.
    spdlog::info("stopped while loading");
    spdlog::default_logger()->flush();
    std::_Exit(kExitOk);
  }
  progress.done();
  return loading.get();
}

sizing::ControllerOptions keeper_options(const ServeConfig& config) {
  return {.governor = {.share = config.memory_share_percent / 100.0}, .on_event = [](const std::string& event) { spdlog::info("{}", event); }};
}

void name_owners(const std::vector<protocol::ApiKey>& keys, Cache& cache) {
  for (const protocol::ApiKey& key : keys) cache.name_owner(engine::tenant_owner(key.tenant), key.tenant);
}

void name_all(const ServeConfig& config, const engine::EngineInfo& info, Cache& cache) {
  cache.name_source(info.source, info.model_name);
  cache.name_owner(engine::tenant_owner(""), protocol::kSharedByAll);
  cache.name_owner(engine::tenant_owner("default"), "default");
  name_owners(config.server.api_keys, cache);
}

void stop(const ServeConfig& config, const sigset_t& signals, server::Server& server, engine::Engine& engine) {
  spdlog::info("shutting down; running requests may take {} to finish (a second signal ends them at once)",
               format_duration(config.server.drain_timeout));
  std::thread([signals] {
    wait_for_signal(signals);
    spdlog::default_logger()->flush();
    std::_Exit(kExitOk);
  }).detach();
  // At the deadline the engine fails running requests; then the server has kLastReplies to send the
  // errors.
  std::thread cutting_off([&] { engine.stop(std::chrono::steady_clock::now() + config.server.drain_timeout); });
  server.stop();
  cutting_off.join();
  spdlog::info("stopped");
  // The cache writes its queue now; a disk that hangs must not block the exit.
  std::thread([] {
    std::this_thread::sleep_for(kLastWrites);
    spdlog::error("the disk does not respond; entries not yet written are lost");
    spdlog::default_logger()->flush();
    std::_Exit(kExitFailure);
  }).detach();
}

int run(const ServeConfig& config, const std::vector<std::string>& arguments, const options::Environment& environment, const Signals& signals,
        trace::Recorder* recorder) {
  CacheOptions cache_options = config.cache;
  if (config.memory_auto) {
    cache_options.capacity_bytes = sizing::MemoryGovernor(keeper_options(config).governor).first(sizing::make_memory_reader()->read());
  }
  if (cache_options.disk) cache_options.disk->on_event = [](const std::string& event) { spdlog::warn("{}", event); };
  const std::string directory = cache_options.disk ? cache_options.disk->directory : "";
  Cache cache(std::move(cache_options));
  if (!directory.empty()) remove_serving_note(directory);   // left behind by a killed server
  const auto memory = std::make_shared<sizing::CapacityController>(cache, keeper_options(config));
  if (config.memory_auto) memory->set_automatic();
  server::ServerOptions server_options = config.server;
  server_options.drain_timeout += kLastReplies;
  server_options.memory = memory;
  server_options.on_request = make_access_log(config.log_format);
  server_options.store_id = random_store_id();
  server::Server server(server_options, cache);
  std::unique_ptr<engine::Engine> engine;
  const auto take_keys = [&](const ServeConfig& now) {
    server.set_api_keys(now.server.api_keys);
    name_owners(now.server.api_keys, cache);
    if (engine) engine->limit_tenant(now.llama.max_queue_per_tenant);
  };
  Reloader reloader(config, arguments, environment, cache, *memory, take_keys);
  SighupHandler sighup(reloader, signals.hangup_ignored);
  server.start();
  spdlog::debug("health on {}", shown_url(config.server.host, server.port()));
  try {
    engine = load_engine(config, cache, signals, sighup, recorder);
  } catch (...) {
    server.stop();
    throw;
  }
  name_all(config, engine->info(), cache);
  if (recorder != nullptr) recorder->set_block_bytes(engine->info().block_bytes);
  server.set_engine(*engine);
  std::optional<ServingNote> note;
  if (const DiskStats disk = cache.disk_stats(); !disk.directory.empty())
    note.emplace(disk.directory, Serving{shown_url(config.server.host, server.port()), server_options.store_id});
  announce(config, engine->info(), cache, memory->state().capacity_bytes, server.port());
  while (wait_for_signal(signals.all) == SIGHUP && !sighup.should_stop()) {
  }
  stop(config, signals.stop, server, *engine);
  return kExitOk;
}

}   // namespace

std::string serve_help(std::size_t width) {
  const ServeConfig config;
  return "Serve a GGUF model over the OpenAI API with a persistent cache.\n\n"
         "Usage: tensorcache serve FILE [OPTIONS]\n" +
         config.options.help(width) + R"(
Sizes are 8GiB, 512MiB, 100MB or bytes; times 10m, 250ms, 1h30m or seconds. Defaults are in [brackets].
Every option can also be set in the [serve] section of the TOML file (ctx-size = 8192) or in an environment variable
(TENSORCACHE_CTX_SIZE=8192). Precedence: command line > environment variables > config file.
SIGHUP reloads the config file and the API keys: API keys, memory, memory-share, disk-size and log-level change immediately.

Examples:
  tensorcache serve model.gguf
  tensorcache serve model.gguf -c 16384 -np 4 --memory 4GiB
  tensorcache serve model.gguf --host 0.0.0.0 --api-key-file keys.txt
  tensorcache serve model.gguf --deterministic --print-config
)";
}

int serve_command(const std::vector<std::string>& arguments) {
  ServeConfig config;
  const options::Environment environment = options::Environment::of_this_process();
  config.read(arguments, environment);
  if (config.print_config) {
    std::fputs(config.config_text(environment).c_str(), stdout);
    return kExitOk;
  }
  config.finish(environment);
  config.prepare();
  const Signals signals = hold_signals();   // before the first thread
  start_logging(config.log_level, config.log_format);
  for (const std::string& warning : config.warnings) spdlog::warn("{}", warning);
  for (const std::string& warning : options::unknown_variables(config.options, environment)) spdlog::warn("{}", warning);
  std::shared_ptr<trace::Recorder> recorder;
  if (!config.record_path.empty()) {
    try {
      recorder = std::make_shared<trace::Recorder>(config.record_path);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(std::string("--record: ") + error.what());
    }
  }
  try {
    const int code = run(config, arguments, environment, signals, recorder.get());
    if (recorder && recorder->lost() > 0) spdlog::warn("--record: {} requests were not written to {}", recorder->lost(), config.record_path);
    return code;
  } catch (const FieldError& error) {
    throw options::UsageError(error.with_names(option_of_field));
  } catch (const std::invalid_argument& error) {
    throw options::UsageError(error.what());
  }
}

}   // namespace tensorcache::commands
