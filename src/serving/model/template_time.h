// Determines whether a chat template's output depends on the clock.
#pragma once

#include <ctime>
#include <string>
#include <string_view>

namespace tensorcache::model {

// The finest unit of time that a template may print.
enum class TemplateTime { kNone, kDay, kSecond };

// Analyses the source of a Jinja template. llama.cpp provides `date_string` and `datetime` (both
// days) and `strftime_now(format)`. If in doubt, returns the finer unit.
[[nodiscard]] TemplateTime template_time(std::string_view source);

// RETURNS `now` in that unit and local time, as templates print it; "" for kNone. THREADS: any.
[[nodiscard]] std::string time_salt(TemplateTime grain, std::time_t now);

}   // namespace tensorcache::model
