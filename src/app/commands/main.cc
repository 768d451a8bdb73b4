// `tensorcache`: selects the command, and converts exceptions into a message and an exit code.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "app/commands/bench.h"
#include "app/commands/disk_commands.h"
#include "app/commands/commands.h"
#include "app/options/option_set.h"
#include "app/commands/serve.h"
#include "app/commands/simulate.h"
#include "app/options/suggest.h"
#include "serving/llama/llama_engine.h"

namespace tensorcache::commands {
namespace {

constexpr const char* kHelp = R"(tensorcache: an inference server and cache for language models

Usage: tensorcache COMMAND [OPTIONS]

Commands:
  serve     serve a GGUF model over the OpenAI API with a persistent cache
  bench     measure an OpenAI-compatible server: latency, throughput and reuse
  simulate  replay a trace against cache sizes and policies, and recommend one
  policies  list the eviction policies
  inspect   list the contents of a cache directory
  verify    verify every byte of a cache directory
  purge     delete entries of a cache directory by model, tenant or age
  version   print the version
  help      print this help, or the help of a command

Examples:
  tensorcache serve --model model.gguf
  tensorcache bench conversations --url http://127.0.0.1:8080
  tensorcache help serve

Every option of a command can also be set in ~/.config/tensorcache/config.toml or in an environment variable.
Precedence: command line > environment variables > config file.
)";

std::size_t terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 110;
  return std::clamp<std::size_t>(size.ws_col, 60, 120);
}

const std::vector<std::string> kCommands{"serve", "bench", "simulate", "policies", "inspect", "verify", "purge"};

bool is_command(const std::string& word) { return std::find(kCommands.begin(), kCommands.end(), word) != kCommands.end(); }

bool is_help(const std::string& word) { return word == "--help" || word == "-h" || word == "help"; }

int print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  return std::fflush(stdout) == 0 ? kExitOk : kExitFailure;
}

int help_for(const std::vector<std::string>& words) {
  if (words.empty()) return print(kHelp);
  if (words[0] == "serve") return print(serve_help(terminal_width()));
  if (words[0] == "bench") return print(bench_help(terminal_width()));
  if (words[0] == "simulate") return print(simulate_help(terminal_width()));
  if (words[0] == "inspect") return print(inspect_help(terminal_width()));
  if (words[0] == "verify") return print(verify_help(terminal_width()));
  if (words[0] == "purge") return print(purge_help(terminal_width()));
  if (words[0] == "version" || words[0] == "policies" || is_help(words[0])) return print(kHelp);
  std::vector<std::string> candidates = kCommands;
  candidates.insert(candidates.end(), {"version", "help"});
  throw options::UsageError(words[0] + ": unknown command" + options::did_you_mean(words[0], candidates));
}

int run(const std::vector<std::string>& words) {
  if (words.empty()) throw options::UsageError("a command is missing: serve, bench, simulate, policies, inspect, verify, purge, version or help");
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  if (is_help(words[0])) return help_for(rest);
  if (words[0] == "version" || words[0] == "--version")
    return print("tensorcache " TENSORCACHE_VERSION TENSORCACHE_COMMIT "\n" + llama::llama_build());
  const bool known = is_command(words[0]);
  if (!known && words[0].starts_with('-')) {
    throw options::UsageError(words[0] + ": put options after the command, e.g. tensorcache serve " + words[0]);
  }
  const auto asks_help = [](const std::string& word) { return word == "--help" || word == "-h"; };
  if (!known || std::any_of(rest.begin(), rest.end(), asks_help)) return help_for(words);
  if (words[0] == "serve") return serve_command(rest);
  if (words[0] == "bench") return bench_command(rest);
  if (words[0] == "simulate") return simulate_command(rest);
  if (words[0] == "policies") return policies_command(rest);
  if (words[0] == "inspect") return inspect_command(rest);
  return words[0] == "verify" ? verify_command(rest) : purge_command(rest);
}

}   // namespace
}   // namespace tensorcache::commands

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    return tensorcache::commands::run(words);
  } catch (const tensorcache::options::UsageError& error) {
    const bool in_command = !words.empty() && tensorcache::commands::is_command(words[0]);
    std::fprintf(stderr, "tensorcache: error: %s\ntry: tensorcache help%s\n", error.what(), in_command ? (" " + words[0]).c_str() : "");
    return tensorcache::commands::kExitUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tensorcache: error: %s\n", error.what());
    return tensorcache::commands::kExitFailure;
  }
}
