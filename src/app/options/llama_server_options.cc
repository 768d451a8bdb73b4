#include "app/options/llama_server_options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include "app/options/option_set.h"

namespace tensorcache::options {
namespace {

using Row = std::pair<std::string_view, std::string_view>;

constexpr std::array<Row, 5> kOtherNames{{{"--n-gpu-layers", "--gpu-layers"},
                                          {"--temperature", "--temp"},
                                          {"--predict", "--n-predict"},
                                          {"--verbose", "--log-level=debug"},
                                          {"-v", "--log-level=debug"}}};

// Ignored flags, and why ignoring them is safe.
constexpr std::array<Row, 8> kIgnored{{{"--jinja", "chat templates are always Jinja"},
                                       {"--metrics", "/metrics is always enabled"},
                                       {"--cont-batching", "requests are always batched"},
                                       {"-cb", "requests are always batched"},
                                       {"--no-webui", "there is no web page"},
                                       {"--no-warmup", "there is no warm-up run"},
                                       {"--mlock", "locking memory is not supported; the model may be swapped out"},
                                       {"--slots", "/slots is always enabled"}}};

constexpr std::array<Row, 12> kRefused{{{"-hf", "downloads are not built in: fetch the GGUF file and name it with --model"},
                                        {"-hfr", "downloads are not built in: fetch the GGUF file and name it with --model"},
                                        {"--hf-repo", "downloads are not built in: fetch the GGUF file and name it with --model"},
                                        {"-mu", "downloads are not built in: fetch the GGUF file and name it with --model"},
                                        {"--model-url", "downloads are not built in: fetch the GGUF file and name it with --model"},
                                        {"--embedding", "embeddings are not served"},
                                        {"--embeddings", "embeddings are not served"},
                                        {"--tensor-split", "llama.cpp distributes the layers among GPUs automatically"},
                                        {"-ts", "llama.cpp distributes the layers among GPUs automatically"},
                                        {"--slot-save-path", "the KV cache is stored on disk automatically, see --disk and --cache-dir"},
                                        {"--cache-ram", "use --memory to set the memory budget of the cache"},
                                        {"--cache-reuse", "prefix caching is automatic, see --cache-prefixes"}}};

template <std::size_t kRows>
const Row* find(const std::array<Row, kRows>& rows, std::string_view name) {
  const auto at = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.first == name; });
  return at == rows.end() ? nullptr : &*at;
}

bool is_number(const std::string& text) {
  float number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

}   // namespace

std::vector<std::string> from_llama_server(const OptionSet& options, const std::vector<std::string>& arguments, std::vector<std::string>& warnings) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const std::string name = argument.substr(0, argument.find('='));
    if (const Row* row = find(kRefused, name)) throw UsageError(name + ": " + std::string(row->second));
    if (const Row* row = find(kIgnored, argument)) {
      warnings.push_back(argument + " has no effect: " + std::string(row->second));
    } else if (const Row* other = find(kOtherNames, name)) {
      out.push_back(std::string(other->second) + argument.substr(name.size()));
    } else if (argument == "--lora-scaled" && i + 2 < arguments.size() && is_number(arguments[i + 2])) {
      out.push_back(argument);
      out.push_back(arguments[i + 1] + ":" + arguments[i + 2]);
      i += 2;
    } else {
      out.push_back(argument);
      if (options.takes_next(argument) && i + 1 < arguments.size()) out.push_back(arguments[++i]);
    }
  }
  return out;
}

}   // namespace tensorcache::options
