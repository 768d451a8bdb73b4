#include "cli/access_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

#include "cli/logging.h"

namespace tensorcache {
namespace {

constexpr std::size_t kMostTarget = 200;

// A client says what the target is: nothing in it may look like the end of a line, move a terminal's cursor, or be
// bytes that are no text, which a JSON line cannot hold.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, kMostTarget));
  std::replace_if(out.begin(), out.end(), [](unsigned char c) { return c <= ' ' || c >= 0x7f; }, '?');
  return out;
}

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3fs", seconds);
  return text;
}

bool is_monitoring(const RequestRecord& record) {
  return (record.status == 200 || record.status == 503) && (record.route == "health" || record.route == "metrics");
}

}   // namespace

std::string access_text(const RequestRecord& record) {
  std::string out = printable(record.method) + " " + printable(record.target) + " " + std::to_string(record.status);
  if (!record.tenant.empty()) out += " tenant=" + printable(record.tenant);
  if (!record.source.empty()) {
    out += " prompt=" + std::to_string(record.usage.prompt_tokens) + " cached=" + std::to_string(record.usage.cached_tokens) +
           " output=" + std::to_string(record.usage.completion_tokens) + " ttft=" + seconds_text(record.first_token_seconds);
  }
  out += " total=" + seconds_text(record.total_seconds);
  if (!record.source.empty()) out += " answer=" + std::string(record.source);
  return out + " id=" + std::string(record.id);
}

std::string access_json(const RequestRecord& record) {
  boost::json::object line;
  line["message"] = "request";
  line["id"] = boost::json::string_view(record.id);
  line["tenant"] = boost::json::string_view(record.tenant);
  line["method"] = printable(record.method);
  line["target"] = printable(record.target);
  line["route"] = boost::json::string_view(record.route);
  line["status"] = record.status;
  line["total_seconds"] = record.total_seconds;
  if (!record.source.empty()) {
    line["prompt_tokens"] = record.usage.prompt_tokens;
    line["cached_tokens"] = record.usage.cached_tokens;
    line["output_tokens"] = record.usage.completion_tokens;
    line["first_token_seconds"] = record.first_token_seconds;
    line["answer"] = boost::json::string_view(record.source);
  }
  return boost::json::serialize(line);
}

std::function<void(const RequestRecord&)> make_access_log(const std::string& format) {
  return [json = format == "json"](const RequestRecord& record) {
    const auto level = is_monitoring(record) ? spdlog::level::debug : spdlog::level::info;
    if (!spdlog::should_log(level)) return;
    spdlog::log(level, "{}", json ? std::string(kJsonMembers) + access_json(record) : access_text(record));
  };
}

}   // namespace tensorcache
