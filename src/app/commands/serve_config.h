// The options of `tensorcache serve`, and their conversion into the options of cache, engine and
// server.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "app/options/layers.h"
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
  bool memory_auto = false;        // the cache's size follows the machine
  int memory_share_percent = 50;   // of what is available
  std::string log_level = "info", log_format = "text";
  bool print_config = false;
  std::string record_path;   // empty: nothing is recorded
  options::OptionSet options;
  std::vector<std::string> warnings;   // to be logged once logging has begun

  // Reads all layers. `arguments` are those of the command line, with llama-server's spellings, and
  // with the model's file as a bare word or not. Throws UsageError.
  void read(const std::vector<std::string>& arguments, const options::Surroundings& surroundings);
  // Every option with where its value came from, and what that comes to here.
  [[nodiscard]] std::string config_text(const options::Surroundings& surroundings);
  // After the layers were read: reads the files the options name, and checks what several options
  // say together. Throws UsageError.
  void finish(const options::Surroundings& surroundings);
  // The last before the start: the model must be there before anything is made on disk. Throws
  // UsageError, and std::runtime_error.
  void prepare();

 private:
  void declare_model();
  void declare_cache();
  void declare_memory();
  void declare_server();
  void expand_home(const options::Surroundings& surroundings);
  void read_loras();
  void read_chat_template();
  void check_memory();
  void finish_disk(const std::string& folder);
  void finish_queue();
  void show_effective(const options::Surroundings& surroundings);

  bool cache_on_ = true, disk_on_ = true, no_mmap_ = false, force_policy_ = false;
  bool own_disk_folder_ = false;   // named by nobody
  DiskOptions disk_;
  std::string disk_sync_ = "segment";
  int port_ = 8080, max_connections_ = 1024, max_queue_per_tenant_ = 0;
  std::uint64_t max_header_bytes_ = 32u << 10;
  std::string chat_template_file_, api_key_file_, config_path_;
  std::vector<std::string> loras_, scaled_loras_, api_keys_;
};

// The library names a wrong setting by its field (FieldError); people know it by its option. RETURNS: "--host" for "host";
// the field itself where no option sets it.
[[nodiscard]] std::string option_of_field(std::string_view field);

// The smaller of 8GiB and half of the memory that is available now (to this container, if it has a
// limit).
[[nodiscard]] std::uint64_t default_cache_bytes();

}   // namespace tensorcache::commands
