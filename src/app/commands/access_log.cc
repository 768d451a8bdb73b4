#include "app/commands/access_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>

#include "app/commands/log_sink.h"
#include "app/commands/logging.h"
#include "base/json/json_text.h"

namespace tensorcache::commands {
namespace {

constexpr std::size_t kMaxTarget = 200;

// Clients choose the target: replaces line breaks, terminal control sequences and ill-formed UTF-8,
// which a JSON line cannot hold.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, kMaxTarget));
  std::replace_if(out.begin(), out.end(), [](unsigned char c) { return c <= ' ' || c >= 0x7f; }, '?');
  return out;
}

// Appends seconds with milliseconds; printf would take longer than the rest of the line.
void append_seconds(std::string& out, double seconds) {
  const auto ms = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 1e9) * 1000 + 0.5);
  const std::string below = std::to_string(ms % 1000);
  out += std::to_string(ms / 1000);
  out += '.';
  out.append(3 - below.size(), '0');
  out += below;
}

void append_member(std::string& out, std::string_view name, std::string_view text) {
  out += ",\"";
  out += name;
  out += "\":";
  json::append_json_string(out, text);
}

void append_member(std::string& out, std::string_view name, std::int64_t number) {
  out += ",\"";
  out += name;
  out += "\":";
  out += std::to_string(number);
}

bool is_monitoring(const server::RequestRecord& record) {
  return (record.status == 200 || record.status == 503) && (record.route == "health" || record.route == "metrics");
}

}   // namespace

std::string access_text(const server::RequestRecord& record) {
  std::string out;
  out.reserve(256);
  out += printable(record.method) + ' ' + printable(record.target) + ' ' + std::to_string(record.status);
  if (record.failed) out += " failed";
  if (!record.tenant.empty()) out += " tenant=" + printable(record.tenant);
  if (!record.source.empty()) {
    out += " prompt=" + std::to_string(record.usage.prompt_tokens) + " cached=" + std::to_string(record.usage.cached_tokens) +
           " output=" + std::to_string(record.usage.completion_tokens) + " ttft=";
    append_seconds(out, record.first_token_seconds);
    out += 's';
  }
  out += " total=";
  append_seconds(out, record.total_seconds);
  out += 's';
  if (!record.source.empty()) {
    out += " answer=";
    out += record.source;
  }
  out += " id=";
  out += record.id;
  return out;
}

std::string access_json(const server::RequestRecord& record) {
  std::string out;
  out.reserve(384);
  out += R"({"message":"request")";
  append_member(out, "id", record.id);
  append_member(out, "tenant", record.tenant);
  append_member(out, "method", printable(record.method));
  append_member(out, "target", printable(record.target));
  append_member(out, "route", record.route);
  append_member(out, "status", record.status);
  if (record.failed) out += ",\"failed\":true";
  out += ",\"total_seconds\":";
  append_seconds(out, record.total_seconds);
  if (!record.source.empty()) {
    append_member(out, "prompt_tokens", record.usage.prompt_tokens);
    append_member(out, "cached_tokens", record.usage.cached_tokens);
    append_member(out, "output_tokens", record.usage.completion_tokens);
    out += ",\"first_token_seconds\":";
    append_seconds(out, record.first_token_seconds);
    append_member(out, "answer", record.source);
  }
  out += '}';
  return out;
}

std::function<void(const server::RequestRecord&)> make_access_log(const std::string& format) {
  const auto logger = spdlog::get(kRequestLogger);
  return [logger, json = format == "json"](const server::RequestRecord& record) {
    const auto level = is_monitoring(record) ? spdlog::level::debug : spdlog::level::info;
    if (!logger->should_log(level)) return;
    logger->log(level, json ? std::string(kJsonMembers) + access_json(record) : access_text(record));
  };
}

}   // namespace tensorcache::commands
