// The options of `tensorcache serve`, and their conversion into the options of cache, engine and
// server.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "app/options/config_layers.h"
#include "app/options/option_set.h"
#include "serving/llama/llama_engine.h"
#include "serving/server/server.h"
#include "tensorcache/cache.h"

namespace tensorcache::commands {

struct ServeConfig {
  ServeConfig();
  ServeConfig(const ServeConfig&) = delete;   // `options` points into this
  ServeConfig& operator=(const ServeConfig&) = delete;

  llama::LlamaOptions llama;
  server::ServerOptions server;
  CacheOptions cache;
  bool memory_auto = false;        // the capacity follows available memory
  int memory_share_percent = 50;   // of available memory
  std::string log_level = "info", log_format = "text";
  bool print_config = false;
  std::string record_path;   // empty: no recording
  options::OptionSet options;
  std::vector<std::string> warnings;   // logged once logging has started

  // Reads all layers. `arguments`: the command line, which may use llama-server's spellings and may
  // have the model's file without an option. Throws UsageError.
  void read(const std::vector<std::string>& arguments, const options::Environment& environment);
  // RETURNS every option's value, source and effective value.
  [[nodiscard]] std::string config_text(const options::Environment& environment);
  // Reads the files that the options name, and checks options against each other. REQUIRES: read()
  // was called. Throws UsageError.
  void finish(const options::Environment& environment);
  // Final step before the start: checks that the model exists before anything is created on disk.
  // Throws UsageError and std::runtime_error.
  // UsageError, and std::runtime_error.
  void prepare();

 private:
  void declare_model();
  void declare_cache();
  void declare_memory();
  void declare_server();
  void declare_defaults();
  void expand_home(const options::Environment& environment);
  void read_loras();
  void read_chat_template();
  void check_memory();
  void finish_disk(const std::string& folder);
  void finish_queue();
  void finish_defaults();
  void finish_alias();
  void show_effective(const options::Environment& environment);

  bool cache_on_ = true, disk_on_ = true, no_mmap_ = false, force_policy_ = false;
  bool own_disk_folder_ = false;   // the default folder is used
  DiskOptions disk_;
  std::string disk_sync_ = "segment", unknown_fields_ = "ignore";
  int port_ = 8080, max_connections_ = 1024, max_queue_per_tenant_ = 0;
  std::uint64_t max_header_bytes_ = 32u << 10;
  double temperature_ = 0.8, top_p_ = 0.95, min_p_ = 0.05;
  std::string alias_, seed_ = "random";
  std::string chat_template_file_, api_key_file_, config_path_;
  std::vector<std::string> loras_, scaled_loras_, api_keys_;
};

// Maps a field of the library's options (FieldError) to the option that sets it. RETURNS: "--host"
// for "host"; the field itself if there is no such option.
[[nodiscard]] std::string option_of_field(std::string_view field);

// RETURNS the smaller of 8 GiB and half of the memory available now, to this container if it has a
// limit.
[[nodiscard]] std::uint64_t default_cache_bytes();

}   // namespace tensorcache::commands
