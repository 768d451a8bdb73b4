// Determines whether a chat template's output depends on the clock.
#pragma once

#include <ctime>
#include <string>
#include <string_view>

namespace tensorcache::model {

// The finest grain of time that a template may print.
enum class TemplateTime { kNone, kDay, kSecond };

// Of a Jinja template's source. llama.cpp gives templates `date_string` and `datetime` (both a day)
// and `strftime_now(format)`. Errs towards the finer grain.
[[nodiscard]] TemplateTime template_time(std::string_view source);

// `now` in that grain and in local time, as templates print it; "" for kNone. Thread safe.
[[nodiscard]] std::string time_salt(TemplateTime grain, std::time_t now);

}   // namespace tensorcache::model
