#include "app/commands/logging.h"

#include <spdlog/formatter.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>

#include "app/commands/log_sink.h"
#include "base/json/json_text.h"

namespace tensorcache::commands {
namespace {

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    using namespace std::chrono;
    const auto since_epoch = duration_cast<milliseconds>(message.time.time_since_epoch());
    const std::time_t seconds = static_cast<std::time_t>(since_epoch.count() / 1000);
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    char time[40];
    const std::size_t length = std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    std::snprintf(time + length, sizeof time - length, ".%03dZ", static_cast<int>(since_epoch.count() % 1000));
    const auto level = spdlog::level::to_string_view(message.level);
    std::string text = R"({"time":")" + std::string(time) + R"(","level":")" + std::string(level.data(), level.size()) + "\",";
    const std::string_view payload(message.payload.data(), message.payload.size());
    if (payload.starts_with(kJsonMembers)) {
      text += payload.substr(kJsonMembers.size() + 1);   // without the opening brace
    } else {
      text += "\"message\":";
      json::append_json_string(text, payload);
      text += '}';
    }
    out.append(text.data(), text.data() + text.size());
    out.push_back('\n');
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

}   // namespace

const std::vector<std::string>& log_levels() {
  static const std::vector<std::string> levels{"trace", "debug", "info", "warning", "error", "off"};
  return levels;
}

void start_logging(const std::string& level, const std::string& format) {
  const auto sink = std::make_shared<LogSink>(STDERR_FILENO);
  auto logger = std::make_shared<spdlog::logger>("tensorcache", sink);
  if (format == "json") {
    sink->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    sink->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%-7l%$ %v");
  }
  spdlog::drop(kRequestLogger);
  spdlog::register_logger(std::make_shared<spdlog::logger>(kRequestLogger, sink));
  spdlog::set_default_logger(std::move(logger));
  set_log_level(level);
}

void set_log_level(const std::string& level) { spdlog::set_level(spdlog::level::from_str(level)); }

}   // namespace tensorcache::commands
