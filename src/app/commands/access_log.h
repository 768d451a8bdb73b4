// Logs one line per request: caller, status, source of the response and durations; never prompts or
// completions.
#pragma once

#include <functional>
#include <string>

#include "serving/server/server.h"

namespace tensorcache::commands {

// `POST /v1/chat/completions 200 tenant=acme prompt=916 cached=896 output=24 ttft=0.290s
// total=0.310s answer=computed id=req_...`
[[nodiscard]] std::string access_text(const server::RequestRecord& record);
// The same as a JSON object.
[[nodiscard]] std::string access_json(const server::RequestRecord& record);

// RETURNS the observer for ServerOptions::on_request. Logs at level info, or debug for routes that
// monitoring polls. REQUIRES: start_logging() was called.
[[nodiscard]] std::function<void(const server::RequestRecord&)> make_access_log(const std::string& format);

}   // namespace tensorcache::commands
