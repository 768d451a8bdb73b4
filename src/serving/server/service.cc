#include "serving/server/service.h"

#include <utility>
#include <vector>

#include "base/core/field_error.h"
#include "serving/protocol/origin_check.h"

namespace tensorcache::server {
namespace {

ServerOptions checked(ServerOptions options) {
  const auto require = [](bool ok, const char* field, const char* problem, std::vector<std::string> others = {}) {
    if (!ok) throw FieldError(field, problem, std::move(others));
  };
  require(!options.host.empty(), "host", "must not be empty");
  require(options.allow_open_host || !options.api_keys.empty() || protocol::is_loopback_name(options.host), "host",
          "an address that is not loopback requires api_keys (or allow_open_host, if every client on the network may use and see everything)",
          {"api_keys", "allow_open_host"});
  require(options.max_body_bytes > 0, "max_body_bytes", "must be above 0");
  require(options.max_header_bytes >= 256, "max_header_bytes", "must be at least 256");
  require(options.max_connections > 0, "max_connections", "must be above 0");
  require(options.request_timeout.count() > 0, "request_timeout", "must be above 0");
  require(options.keep_alive_timeout.count() > 0, "keep_alive_timeout", "must be above 0");
  require(options.write_timeout.count() > 0, "write_timeout", "must be above 0");
  require(options.min_write_bytes_per_second > 0, "min_write_bytes_per_second", "must be above 0");
  require(options.drain_timeout.count() >= 0, "drain_timeout", "must not be negative");
  require(options.answer_time_to_live.count() >= 0, "answer_time_to_live", "must not be negative");
  return options;
}

}   // namespace

Service::Service(ServerOptions options_in, Cache& cache_in)
    : options(checked(std::move(options_in))),
      cache(cache_in),
      memory(options.memory ? options.memory : std::make_shared<sizing::CapacityController>(cache_in)),
      tenants(options.api_keys, options.share_across_tenants),
      local_only(options.api_keys.empty() && protocol::is_loopback_name(options.host)),
      flights(cache_in) {}

}   // namespace tensorcache::server
