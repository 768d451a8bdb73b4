#include "load/trace.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <memory>
#include <optional>
#include <stdexcept>

#include "load/words.h"

namespace tensorcache::load {
namespace {

namespace json = boost::json;

constexpr std::uint64_t kBlockPurpose = 100;   // apart from workload.cc's

// Lines of a file that may be gzipped (zlib reads plain files too).
class Lines {
 public:
  explicit Lines(const std::string& path) : file_(gzopen(path.c_str(), "rb"), gzclose) {
    if (!file_) throw std::runtime_error(path + ": cannot be read");
  }
  // Throws std::runtime_error without the path.
  bool next(std::string& line) {
    line.clear();
    std::array<char, 16384> buffer;
    while (gzgets(file_.get(), buffer.data(), static_cast<int>(buffer.size())) != nullptr) {
      line += buffer.data();
      if (!line.ends_with('\n')) continue;
      line.pop_back();
      return true;
    }
    int status = Z_OK;
    const char* message = gzerror(file_.get(), &status);
    if (status != Z_OK && status != Z_STREAM_END) throw std::runtime_error(std::string("damaged: ") + message);
    return !line.empty();
  }

 private:
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

std::uint64_t count_in(const json::object& entry, const char* name) {
  const json::value* value = entry.if_contains(name);
  boost::system::error_code failed;
  const double number = value != nullptr && value->is_number() ? value->to_number<double>(failed) : -1;
  if (!(number >= 0 && number < 1e15) || failed) throw std::runtime_error(std::string(name) + " is missing or no number from 0 on");
  return static_cast<std::uint64_t>(number);
}

struct Entry {
  std::uint64_t timestamp_ms = 0, input_tokens = 0, output_tokens = 0;
  std::vector<std::uint64_t> blocks;
};

Entry parsed(const std::string& line) {
  boost::system::error_code failed;
  const json::value value = json::parse(line, failed);
  if (failed || !value.is_object()) throw std::runtime_error("is not a JSON object");
  const json::object& object = value.get_object();
  Entry entry{count_in(object, "timestamp"), count_in(object, "input_length"), count_in(object, "output_length"), {}};
  const json::value* ids = object.if_contains("hash_ids");
  if (ids == nullptr || !ids->is_array()) throw std::runtime_error("hash_ids is missing or no list");
  for (const json::value& id : ids->get_array()) {
    if (!id.is_number()) throw std::runtime_error("hash_ids holds something that is no number");
    entry.blocks.push_back(static_cast<std::uint64_t>(id.to_number<std::int64_t>(failed)));
  }
  return entry;
}

std::string prompt_of(const Entry& entry, const TraceOptions& options) {
  std::string prompt;
  std::uint64_t left = entry.input_tokens;
  for (const std::uint64_t id : entry.blocks) {
    const std::size_t words = std::min<std::uint64_t>(left, options.block_tokens);
    if (words == 0) break;
    if (!prompt.empty()) prompt += ' ';
    prompt += WordSource(options.seed, kBlockPurpose, id).text(words);
    left -= words;
  }
  return prompt;
}

}   // namespace

Workload read_trace(const TraceOptions& options) {
  Lines lines(options.path);
  Workload work{"trace", {}, {Phase{"trace", {}, options.concurrency}}};
  std::vector<Turn>& turns = work.phases[0].turns;
  std::string line;
  std::optional<std::uint64_t> begin_ms;
  std::size_t number = 0;
  try {
    while ((options.limit == 0 || turns.size() < options.limit) && lines.next(line)) {
      ++number;
      if (line.empty()) continue;
      const Entry entry = parsed(line);
      if (entry.input_tokens == 0 || (options.max_input != 0 && entry.input_tokens > options.max_input)) continue;
      if (!begin_ms) begin_ms = entry.timestamp_ms;
      Turn turn{turns.size(), prompt_of(entry, options), static_cast<int>(std::min<std::uint64_t>(entry.output_tokens, 1'000'000)), {}};
      if (options.max_output > 0) turn.max_tokens = std::min(turn.max_tokens, options.max_output);
      turn.max_tokens = std::max(turn.max_tokens, 1);
      const double since_ms = static_cast<double>(entry.timestamp_ms) - static_cast<double>(*begin_ms);
      if (options.speedup > 0) turn.start_after = std::chrono::milliseconds(std::max<std::int64_t>(0, std::llround(since_ms / options.speedup)));
      turns.push_back(std::move(turn));
    }
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(options.path + ":" + std::to_string(number) + ": " + error.what());
  }
  if (turns.empty()) throw std::runtime_error(options.path + ": holds no request that fits");
  std::stable_sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) { return a.start_after < b.start_after; });
  work.system.resize(turns.size());
  return work;
}

}   // namespace tensorcache::load
