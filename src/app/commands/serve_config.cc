#include "app/commands/serve_config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>

#include "base/core/limits.h"
#include "base/core/units.h"
#include "app/commands/api_keys.h"
#include "app/commands/commands.h"
#include "app/options/llama_server_options.h"
#include "app/commands/logging.h"
#include "base/file/file.h"
#include "store/sizing/memory_governor.h"
#include "store/sizing/memory_reading.h"
#include "store/policy/policy.h"

namespace tensorcache::commands {
namespace {

std::vector<std::string> policy_names() {
  std::vector<std::string> names;
  for (const policy::PolicyInfo& info : policy::policies()) names.emplace_back(info.name);
  return names;
}

std::optional<float> scale_in(std::string_view text) {
  float scale = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), scale);
  if (text.empty() || error != std::errc() || rest != text.data() + text.size()) return std::nullopt;
  return scale;
}

std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || std::filesystem::is_directory(path)) throw options::UsageError("--chat-template-file: cannot read " + path);
  return text.str();
}

const std::vector<std::string>& kv_types() {
  static const std::vector<std::string> types{"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"};
  return types;
}

}   // namespace

std::string option_of_field(std::string_view field) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kOptions{{{"host", "--host"},
                                                                                    {"policy", "--policy"},
                                                                                    {"api_keys", "--api-key"},
                                                                                    {"allow_open_host", "--allow-open-host"},
                                                                                    {"max_body_bytes", "--max-body-size"},
                                                                                    {"max_header_bytes", "--max-header-size"},
                                                                                    {"max_connections", "--max-connections"},
                                                                                    {"request_timeout", "--request-timeout"},
                                                                                    {"keep_alive_timeout", "--keep-alive-timeout"},
                                                                                    {"write_timeout", "--write-timeout"},
                                                                                    {"min_write_bytes_per_second", "--min-write-rate"},
                                                                                    {"drain_timeout", "--drain-timeout"},
                                                                                    {"answer_time_to_live", "--answer-ttl"}}};
  const auto* const known = std::find_if(kOptions.begin(), kOptions.end(), [field](const auto& each) { return each.first == field; });
  return std::string(known == kOptions.end() ? field : known->second);
}

std::uint64_t default_cache_bytes() {
  constexpr std::uint64_t kMaxDefault = std::uint64_t{8} << 30, kMiB = std::uint64_t{1} << 20;
  const auto machine = sizing::make_memory_reader()->read();
  const std::uint64_t available = machine ? std::min(machine->available_bytes, 2 * kMaxDefault) : 2 * kMaxDefault;
  return std::max(available / 2 / kMiB, std::uint64_t{64}) * kMiB;   // whole MiB are easier to read
}

ServeConfig::ServeConfig() : options("serve") {
  cache.capacity_bytes = default_cache_bytes();
  cache.policy = "auto";
  declare_model();
  declare_cache();
  declare_defaults();
  declare_server();
}

void ServeConfig::declare_model() {
  options.group("Model");
  options.add_text("-m,--model", "FILE", llama.model_path, "GGUF model to serve (required)");
  options.add_text("-a,--alias", "NAME,...", alias_, "model name in the API; further ones after commas").default_text = "the file name";
  options.add_int("-c,--ctx-size", "N", llama.ctx_size, "context size in tokens, of all --parallel slots together").default_text =
      "the model's training context for each slot, up to 32768, within a quarter of the memory";
  options.add_list("--lora", "FILE", loras_, "LoRA adapter; may be repeated");
  options.add_list("--lora-scaled", "FILE:SCALE", scaled_loras_, "LoRA adapter with a scale; may be repeated");
  options.add_text("--chat-template", "JINJA|NAME", llama.chat_template, "chat template, or the name of one built into llama.cpp").default_text =
      "from the model";
  options.add_text("--chat-template-file", "FILE", chat_template_file_, "read the chat template from a file");
  options.add_choice("-ctk,--cache-type-k", llama.cache_type_k, kv_types(), "KV cache data type for K").meta = "TYPE";
  options.add_choice("-ctv,--cache-type-v", llama.cache_type_v, kv_types(), "KV cache data type for V").meta = "TYPE";

  options.group("Speed");
  options.add_int("-np,--parallel", "N", llama.parallel, "number of slots: requests that run concurrently", 1, 256);
  options.add_int("-t,--threads", "N", llama.threads, "threads for decode", 0, 1024).default_text = "one per core";
  options.add_int("-tb,--threads-batch", "N", llama.threads_batch, "threads for prefill", 0, 1024).default_text = "as --threads";
  options.add_int("-b,--batch-size", "N", llama.batch_size, "maximum prefill tokens per step", 1);
  options.add_choice("-fa,--flash-attn", llama.flash_attn, {"on", "off", "auto"}, "flash attention");
  options.add_int("-ngl,--gpu-layers", "N", llama.gpu_layers, "layers to offload to the GPU", -1).default_text = "as many as fit";
  options.add_flag("--no-mmap", no_mmap_, "read the model into memory instead of mapping it");
  options.add_flag("--deterministic", llama.deterministic,
                   "bit-identical output for cold, cached and batched requests; single-request decode runs at about 0.4x speed");
}

void ServeConfig::declare_memory() {
  options::OptionSet::Item& memory =
      options.add_size("--memory", cache.capacity_bytes, "memory budget of the cache, a hard limit; auto: follows available memory");
  memory.meta = "SIZE|auto";
  memory.default_text = "8GiB, or half of the available memory if less";
  memory.set = [this, set_size = memory.set](const std::vector<std::string>& values) {
    if (values.back() != "auto") set_size(values);
    memory_auto = values.back() == "auto";
  };
  memory.toml = [this, size = memory.toml] { return memory_auto ? options::toml_string("auto") : size(); };
  options.add_int("--memory-share", "PERCENT", memory_share_percent,
                  "with --memory auto: share of the memory that would be available without the cache", 1, 90);
}

void ServeConfig::declare_cache() {
  options.group("Cache");
  declare_memory();
  options.add_switch("--cache", cache_on_, "off: disables prefix caching and the response cache");
  options.add_switch("--cache-prefixes", llama.prefix_cache, "reuse the KV cache of shared prompt prefixes (prefix caching)");
  options.add_switch("--cache-answers", server.cache_answers, "return the stored response to an identical request (response cache)");
  options.add_switch("--cache-sampled", server.cache_sampled, "also store responses sampled with temperature > 0 and no seed");
  options.add_duration("--answer-ttl", server.answer_time_to_live, "time to live of stored responses").default_text = "0: never";
  options.add_switch("--disk", disk_on_, "also store the cache on disk, so that it survives restarts and crashes");
  options.add_text("--cache-dir", "DIR", disk_.directory, "cache directory; one process at a time").default_text = "~/.cache/tensorcache/store";
  options.add_size("--disk-size", disk_.capacity_bytes, "disk budget of the cache, a hard limit");
  options.add_choice("--disk-sync", disk_sync_, {"none", "segment", "record"},
                     "durability on power loss: none: no fsync, usually the last 30 s are lost; segment: fsync per segment, up to 64MiB are lost; "
                     "record: fsync after every batch, nothing flushed is lost");
  options.add_choice("--policy", cache.policy, policy_names(), "eviction policy (see: tensorcache policies)");
  options.add_flag("--force-policy", force_policy_, "allow a policy that is not suited to prefix blocks");
  options.add_text("--record", "FILE", record_path,
                   "append each request's lengths and block digests (never text) to a trace for tensorcache simulate");
  options.add_int("--block-size", "N", llama.block_tokens, "tokens per prefix block", 0, 4096).default_text = "32, or 64 with --deterministic";
}

// What a request has where it does not say, under llama-server's names.
void ServeConfig::declare_defaults() {
  options.group("Defaults of requests");
  protocol::RequestDefaults& defaults = server.defaults;
  options.add_real("--temp", "T", temperature_, "sampling temperature; 0: greedy", 0, 2);
  options.add_int("--top-k", "N", defaults.sampling.top_k, "sample from the N likeliest tokens; 0: all");
  options.add_real("--top-p", "P", top_p_, "sample from the likeliest tokens whose probabilities add up to P", 0, 1);
  options.add_real("--min-p", "P", min_p_, "leave out tokens less likely than P times the likeliest", 0, 1);
  options.add_text("-s,--seed", "N", seed_, "seed of sampling; with one, a request repeated is a request answered from the cache");
  options.add_int("-n,--n-predict", "N", defaults.max_tokens, "maximum tokens of an answer; -1: until the model stops", -1);
}

void ServeConfig::finish_defaults() {
  engine::Sampling& sampling = server.defaults.sampling;
  sampling.temperature = static_cast<float>(temperature_);
  if (sampling.temperature < engine::kMinTemperature) sampling.temperature = 0;
  sampling.top_p = static_cast<float>(top_p_);
  sampling.min_p = static_cast<float>(min_p_);
  if (server.defaults.max_tokens == 0) throw options::UsageError("--n-predict: must be at least 1, or -1 for no limit");
  if (seed_ == "random" || seed_ == "-1") return;
  std::uint32_t seed = 0;
  const auto end = std::from_chars(seed_.data(), seed_.data() + seed_.size(), seed);
  if (end.ec != std::errc{} || end.ptr != seed_.data() + seed_.size()) {
    throw options::UsageError("--seed: '" + seed_ + "' is not a whole number from 0 to 4294967295, or random");
  }
  if (seed != std::numeric_limits<std::uint32_t>::max()) sampling.seed = seed;   // which is "random", as in llama.cpp
}

// The first name is the model's id.
void ServeConfig::finish_alias() {
  std::vector<std::string> names;
  std::stringstream list(alias_);
  for (std::string name; std::getline(list, name, ',');) {
    if (name.empty()) throw options::UsageError("--alias: an empty name in '" + alias_ + "'");
    names.push_back(name);
  }
  if (names.empty()) return;
  llama.alias = names.front();
  llama.more_aliases.assign(names.begin() + 1, names.end());
}

void ServeConfig::declare_server() {
  options.group("Server");
  options.add_text("--host", "ADDRESS", server.host, "address to listen on");
  options.add_int("--port", "N", port_, "port to listen on; 0: any free port", 0, 65535);
  options.add_list("--api-key", "KEY", api_keys_, "API key that clients must send; may be repeated or comma-separated").secret = true;
  options.add_text("--api-key-file", "FILE", api_key_file_, "file with API keys of several tenants: lines of TENANT KEY [admin]");
  options.add_flag("--allow-open-host", server.allow_open_host, "allow a non-loopback --host without an API key");
  options.add_list(
      "--cors-origins", "ORIGINS", server.cors_origins,
      "web pages that may call the server, besides those of this machine, such as https://app.example; *: all; localhost: none but those");
  options.add_flag("--strict-model", server.strict_model, "refuse (404) a model name other than the served one; else any name is accepted");
  options.add_choice("--unknown-fields", unknown_fields_, {"ignore", "refuse"},
                     "unknown fields of a request: ignore and name them in a header, or refuse (400)");
  options.add_flag("--share-across-tenants", server.share_across_tenants, "share cache entries between tenants");

  options.group("Limits");
  options.add_int("--max-queue", "N", llama.max_queue, "maximum queued requests; further requests get 503");
  options.add_int("--max-queue-per-tenant", "N", max_queue_per_tenant_, "maximum queued requests per tenant").default_text =
      "a quarter of --max-queue if there are several tenants";
  options.add_int("--max-connections", "N", max_connections_, "maximum open connections", 1);
  options.add_size("--max-body-size", server.max_body_bytes, "maximum size of a request body");
  options.add_size("--max-header-size", max_header_bytes_, "maximum size of a request header");
  options.add_duration("--request-timeout", server.request_timeout, "timeout for receiving a complete request");
  options.add_duration("--keep-alive-timeout", server.keep_alive_timeout, "close idle connections after this time");
  options.add_duration("--write-timeout", server.write_timeout, "disconnect clients that stop reading after this time");
  options.add_size("--min-write-rate", server.min_write_bytes_per_second,
                   "minimum rate in bytes per second at which a client must read a long reply");
  options.add_duration("--drain-timeout", server.drain_timeout, "graceful shutdown: how long running requests may take to finish after SIGTERM");

  options.group("Logging and configuration");
  options.add_choice("--log-level", log_level, log_levels(), "minimum level of log messages on standard error").meta = "LEVEL";
  options.add_choice("--log-format", log_format, {"text", "json"}, "log format: text lines or JSON objects");
  options::OptionSet::Item& config = options.add_text("--config", "FILE", config_path_, "read options from a TOML file");
  config.default_text = "~/.config/tensorcache/config.toml if it exists";
  config.command_line_only = true;
  options.add_flag("--print-config", print_config, "print each option's effective value and source, and exit").command_line_only = true;
}

void ServeConfig::read_loras() {
  for (const std::string& path : loras_) llama.loras.emplace_back(path, 1.0F);
  for (const std::string& value : scaled_loras_) {
    const std::size_t colon = value.rfind(':');
    const auto scale = colon == std::string::npos ? std::nullopt : scale_in(std::string_view(value).substr(colon + 1));
    if (!scale || colon == 0) throw options::UsageError("--lora-scaled: '" + value + "' is not FILE:SCALE, for example adapter.gguf:0.5");
    llama.loras.emplace_back(value.substr(0, colon), *scale);
  }
}

// Uses the one of the two options whose layer has precedence.
void ServeConfig::read_chat_template() {
  const int text_rank = options::layer_rank(options.find("chat-template")->origin),
            file_rank = options::layer_rank(options.find("chat-template-file")->origin);
  if (!chat_template_file_.empty() && (llama.chat_template.empty() || file_rank > text_rank)) {
    llama.chat_template = file_text(chat_template_file_);
    return;
  }
  if (!chat_template_file_.empty() && file_rank == text_rank) throw options::UsageError("--chat-template-file: conflicts with --chat-template");
  std::error_code not_a_path;
  if (!llama.chat_template.empty() && std::filesystem::exists(llama.chat_template, not_a_path)) {
    throw options::UsageError("--chat-template: " + llama.chat_template + " is a file; use --chat-template-file");
  }
}

// Expands ~, which a shell expands only at the beginning of a word, and not in files or environment
// variables.
void ServeConfig::expand_home(const options::Environment& environment) {
  const std::optional<std::string> home = environment.variable("HOME");
  const auto expand = [&](std::string& path) {
    if (home && (path == "~" || path.starts_with("~/"))) path.replace(0, 1, *home);
  };
  for (std::string* path : {&llama.model_path, &disk_.directory, &record_path, &chat_template_file_, &api_key_file_}) expand(*path);
  for (std::string& path : loras_) expand(path);
  for (std::string& path : scaled_loras_) expand(path);
}

void ServeConfig::finish(const options::Environment& environment) {
  expand_home(environment);
  server.port = static_cast<std::uint16_t>(port_);
  server.max_connections = static_cast<std::uint32_t>(max_connections_);
  if (max_header_bytes_ < 1024 || max_header_bytes_ > (1u << 30)) {
    throw options::UsageError("--max-header-size: " + exact_size(max_header_bytes_) + " is out of range: it must be between 1KiB and 1GiB");
  }
  server.max_header_bytes = static_cast<std::uint32_t>(max_header_bytes_);
  llama.mmap = !no_mmap_;
  if (!cache_on_) llama.prefix_cache = server.cache_answers = false;
  const policy::PolicyInfo* policy = policy::find_policy(cache.policy);
  if (policy != nullptr && !policy->fits_prefixes && llama.prefix_cache && !force_policy_) {
    throw options::UsageError("--policy: " + cache.policy +
                              " is for independent keys; for prefix blocks its miss ratio is higher than lru's, up to eight times " +
                              "(docs/policies.md). Use --cache-prefixes off to cache responses only, or --force-policy to allow it");
  }
  check_memory();
  read_loras();
  read_chat_template();
  try {
    server.api_keys = split_api_keys(api_keys_);
  } catch (const options::UsageError& error) {
    throw options::UsageError("--api-key: " + std::string(error.what()));
  }
  if (!api_key_file_.empty()) {
    std::string warning;
    try {
      for (protocol::ApiKey& key : read_api_key_file(api_key_file_, warning)) server.api_keys.push_back(std::move(key));
    } catch (const options::UsageError& error) {
      throw options::UsageError("--api-key-file: " + std::string(error.what()));
    }
    if (!warning.empty()) warnings.push_back("--api-key-file: " + warning);
  }
  finish_queue();
  finish_defaults();
  finish_alias();
  const std::string folder = options::cache_folder(environment);
  server.unknown_fields = unknown_fields_ == "refuse" ? protocol::UnknownFields::kRefuse : protocol::UnknownFields::kIgnore;
  if (!folder.empty()) llama.fingerprint_cache_path = folder + "/fingerprints";
  finish_disk(folder);
}

void ServeConfig::read(const std::vector<std::string>& arguments, const options::Environment& environment) {
  std::vector<std::string> rest = options::from_llama_server(options, arguments, warnings);
  if (const std::string model = options.take_argument(rest, "model"); !model.empty()) {
    const bool named = std::any_of(rest.begin(), rest.end(), [](const std::string& word) { return word == "-m" || word.starts_with("--model"); });
    if (named) throw options::UsageError(model + ": unexpected argument; the model is already set by --model");
    rest.push_back("--model=" + model);
  }
  options::read_layers(options, rest, environment, config_sections());
}

void ServeConfig::prepare() {
  if (llama.model_path.empty()) throw options::UsageError("--model: is required: the GGUF file to serve");
  std::ifstream model(llama.model_path, std::ios::binary);
  if (std::filesystem::is_directory(llama.model_path))
    throw std::runtime_error("--model: " + llama.model_path + ": is a directory; specify a GGUF file in it");
  if (!model) throw std::runtime_error("--model: " + llama.model_path + ": cannot be loaded: " + std::strerror(errno));
  if (!cache.disk || !own_disk_folder_) return;
  const int error = file::real_file_system()->make_directory(cache.disk->directory);
  if (error == 0) return;   // a home directory that is not writable does not prevent serving
  warnings.push_back("--disk: " + cache.disk->directory + ": " + std::strerror(error) +
                     "; the disk tier is disabled (use --cache-dir to choose another directory)");
  cache.disk.reset();
}

// Records the effective values of options that were not set.
void ServeConfig::show_effective(const options::Environment& environment) {
  const auto show = [this](const char* name, std::string text) { options.item(name).effective = std::move(text); };
  const std::string cores = std::to_string(std::max(1U, std::thread::hardware_concurrency()));
  if (llama.threads == 0) show("threads", cores);
  if (llama.threads_batch == 0) show("threads-batch", llama.threads == 0 ? cores : std::to_string(llama.threads));
  if (llama.ctx_size == 0) show("ctx-size", "the model's training context for each slot, up to 32768, within a quarter of the memory");
  if (llama.block_tokens == 0) show("block-size", llama.deterministic ? "64" : "32");
  if (llama.gpu_layers < 0) show("gpu-layers", "as many as fit");
  if (llama.chat_template.empty() && chat_template_file_.empty()) show("chat-template", "the model's own");
  if (llama.alias.empty() && !llama.model_path.empty()) show("alias", std::filesystem::path(llama.model_path).filename().string());
  if (max_queue_per_tenant_ == 0) show("max-queue-per-tenant", "a quarter of --max-queue if there are several tenants");
  if (memory_auto)
    show("memory", std::to_string(memory_share_percent) + " % of available memory, now " +
                       format_size(sizing::MemoryGovernor({.share = memory_share_percent / 100.0}).first(sizing::make_memory_reader()->read())));
  if (server.answer_time_to_live.count() == 0) show("answer-ttl", "unlimited");
  if (disk_.directory.empty()) show("cache-dir", options::cache_folder(environment) + "/store");
}

std::string ServeConfig::config_text(const options::Environment& environment) {
  expand_home(environment);
  show_effective(environment);
  return options.print_config();
}

void ServeConfig::check_memory() {
  if (memory_auto) return;
  if (cache.capacity_bytes < Limits::kMinMemoryBytes) {
    throw options::UsageError("--memory: " + exact_size(cache.capacity_bytes) + " is too small: it must be at least " +
                              format_size(Limits::kMinMemoryBytes) + " (or --cache off)");
  }
  const auto machine = sizing::make_memory_reader()->read();
  if (!machine || cache.capacity_bytes <= machine->total_bytes) return;
  // Only a warning: the same file may be used on several machines.
  warnings.push_back("--memory: " + format_size(cache.capacity_bytes) + " is more than the " + format_size(machine->total_bytes) +
                     " of this machine; when the cache is full, the system will swap or kill processes");
}

void ServeConfig::finish_queue() {
  const auto other = [this](const protocol::ApiKey& key) { return key.tenant != server.api_keys.front().tenant; };
  const bool several = std::any_of(server.api_keys.begin(), server.api_keys.end(), other) && !server.share_across_tenants;
  llama.max_queue_per_tenant = max_queue_per_tenant_ > 0 || !several ? max_queue_per_tenant_ : std::max(1, llama.max_queue / 4);
}

void ServeConfig::finish_disk(const std::string& folder) {
  if (!disk_on_ || !cache_on_) return;
  if (disk_.directory.empty() && folder.empty()) {
    warnings.push_back("--disk: there is no home directory, so the disk tier is disabled; use --cache-dir to choose a directory");
    return;
  }
  if (disk_.directory.empty()) {
    disk_.directory = folder + "/store";
    own_disk_folder_ = true;
  }
  if (disk_.capacity_bytes < Limits::kMinServedDiskBytes) {
    throw options::UsageError("--disk-size: " + exact_size(disk_.capacity_bytes) + " is too small: it must be at least " +
                              format_size(Limits::kMinServedDiskBytes) + " (or --disk off)");
  }
  disk_.sync = disk_sync_ == "none" ? DiskSync::kNone : disk_sync_ == "segment" ? DiskSync::kSegment : DiskSync::kRecord;
  cache.disk = disk_;
}

}   // namespace tensorcache::commands
