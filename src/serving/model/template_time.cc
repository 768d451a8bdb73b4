#include "serving/model/template_time.h"

namespace tensorcache::model {
namespace {

// RETURNS true if the call after "strftime_now" prints nothing finer than a day.
bool prints_days_only(std::string_view call) {
  const std::size_t quote = call.find_first_not_of(" (");
  if (quote == std::string_view::npos || (call[quote] != '"' && call[quote] != '\'')) return false;   // the format is not a literal
  const std::size_t end = call.find(call[quote], quote + 1);
  const std::string_view format = call.substr(quote + 1, end == std::string_view::npos ? end : end - quote - 1);
  constexpr std::string_view kOfDays = "aAbBCdDeFgGhjmnOtuUVwWxyYzZ%-E";
  for (std::size_t at = format.find('%'); at != std::string_view::npos && at + 1 < format.size(); at = format.find('%', at + 2)) {
    if (kOfDays.find(format[at + 1]) == std::string_view::npos) return false;
    // A modifier: the next letter decides.
    if (std::string_view("-EO").find(format[at + 1]) != std::string_view::npos &&
        (at + 2 >= format.size() || kOfDays.find(format[at + 2]) == std::string_view::npos)) {
      return false;
    }
  }
  return true;
}

}   // namespace

TemplateTime template_time(std::string_view source) {
  constexpr std::string_view kCall = "strftime_now";
  TemplateTime grain = TemplateTime::kNone;
  for (const std::string_view name : {std::string_view("date_string"), std::string_view("datetime")}) {
    if (source.find(name) != std::string_view::npos) grain = TemplateTime::kDay;
  }
  for (std::size_t at = source.find(kCall); at != std::string_view::npos; at = source.find(kCall, at + kCall.size())) {
    std::string_view behind = source.substr(at + kCall.size());
    const std::size_t next = behind.find_first_not_of(' ');
    // "strftime_now is defined" prints nothing. If the function is given another name, its format
    // is unknown.
    const bool called = next != std::string_view::npos && behind[next] == '(';
    const bool asked = next != std::string_view::npos && behind.substr(next).starts_with("is ");
    if (called ? !prints_days_only(behind) : !asked) return TemplateTime::kSecond;
    grain = TemplateTime::kDay;
  }
  return grain;
}

std::string time_salt(TemplateTime grain, std::time_t now) {
  if (grain == TemplateTime::kNone) return {};
  std::tm local{};
  ::localtime_r(&now, &local);
  char text[32];
  text[std::strftime(text, sizeof text, grain == TemplateTime::kDay ? "%Y-%m-%d" : "%Y-%m-%d %H:%M:%S", &local)] = '\0';
  return text;
}

}   // namespace tensorcache::model
