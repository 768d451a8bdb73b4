#include "tools/simulate/report.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstdio>

#include "base/core/text_table.h"

namespace tensorcache::simulate {
namespace {

// A larger cache is worth its price while it saves at least this much more of the accesses.
constexpr double kWorthwhile = 0.01;

std::string format(const char* pattern, auto... values) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

double share(std::uint64_t part, std::uint64_t whole) { return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole); }

std::string label(const Setting& setting) {
  return setting.hint_recall > 0 && setting.policy != "min" ? setting.policy + format(" +%g%% hints", 100 * setting.hint_recall) : setting.policy;
}

template <class Value>
std::vector<Value> distinct(const Report& report, const auto& value_of) {
  std::vector<Value> values;
  for (const Finding& finding : report.findings) {
    const Value value = value_of(finding);
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  }
  return values;
}
std::vector<std::string> labels(const Report& report) {
  return distinct<std::string>(report, [](const Finding& f) { return label(f.setting); });
}
std::vector<std::uint64_t> sizes(const Report& report) {
  return distinct<std::uint64_t>(report, [](const Finding& f) { return f.setting.size; });
}
const Finding* find(const Report& report, const std::string& name, std::uint64_t size) {
  for (const Finding& finding : report.findings) {
    if (finding.setting.size == size && label(finding.setting) == name) return &finding;
  }
  return nullptr;
}

std::optional<double> seconds_saved(const Report& report, const Outcome& outcome) {
  if (!report.tokens_per_second || outcome.tokens == 0) return std::nullopt;
  return static_cast<double>(outcome.tokens - outcome.missed_tokens) / *report.tokens_per_second;
}

// What to start a server with, where it is known how many bytes that takes.
std::string options_for(const Report& report, const Setting& setting) {
  if (report.unit == "keys" || (report.unit == "blocks" && report.block_bytes == 0)) return "";
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  const std::uint64_t bytes = report.unit == "bytes" ? setting.size : setting.size * report.block_bytes;
  return " (--memory " + std::to_string(std::max<std::uint64_t>(1, (bytes + kMiB - 1) / kMiB)) + "MiB --policy " + setting.policy + ")";
}

std::string saved_text(double seconds) {
  if (seconds >= 7200) return format("%.1f hours", seconds / 3600);
  return seconds >= 120 ? format("%.0f minutes", seconds / 60) : format("%.1f s", seconds);
}

}   // namespace

std::string table(const Report& report) {
  const auto names = labels(report);
  std::vector<TableRow> lines{{"miss ratio"}};
  for (const std::uint64_t size : sizes(report)) {
    const auto of_size = std::find_if(report.findings.begin(), report.findings.end(), [&](const Finding& f) { return f.setting.size == size; });
    lines[0].push_back(of_size->size_text.ends_with('%') ? of_size->size_text + " (" + grouped(size) + ")" : of_size->size_text);
  }
  for (const std::string& name : names) {
    lines.push_back({name});
    for (const std::uint64_t size : sizes(report)) {
      const Finding* finding = find(report, name, size);
      lines.back().push_back(finding == nullptr ? "" : format("%.4f", finding->outcome.miss_ratio()));
    }
  }
  std::string text = report.trace + ": " + grouped(report.requests) + " requests, " + grouped(report.accesses) + " accesses, " +
                     grouped(report.distinct) + (report.unit == "blocks" ? " distinct blocks" : " distinct keys");
  if (report.unit == "bytes") text += " of " + grouped(report.distinct_size) + " bytes";
  text += "; sizes in " + report.unit + "\n";
  if (report.bad_lines > 0) text += grouped(report.bad_lines) + " malformed lines were skipped\n";
  return text + "\n" + text_table(lines);
}

std::string json(const Report& report) {
  boost::json::array results;
  for (const Finding& finding : report.findings) {
    const Outcome& outcome = finding.outcome;
    boost::json::object result{{"policy", finding.setting.policy},
                               {"size", finding.setting.size},
                               {"size_text", finding.size_text},
                               {"miss_ratio", outcome.miss_ratio()},
                               {"request_hit_ratio", share(outcome.requests_hit, outcome.requests)},
                               {"byte_miss_ratio", share(outcome.missed_bytes, outcome.bytes)},
                               {"accesses", outcome.accesses},
                               {"misses", outcome.misses},
                               {"accesses_per_second", finding.seconds > 0 ? static_cast<double>(outcome.accesses) / finding.seconds : 0}};
    if (finding.setting.hint_recall > 0) result["hint_recall"] = finding.setting.hint_recall;
    if (outcome.tokens > 0) result["token_hit_ratio"] = 1 - share(outcome.missed_tokens, outcome.tokens);
    if (const auto saved = seconds_saved(report, outcome)) result["prefill_seconds_saved"] = *saved;
    results.push_back(std::move(result));
  }
  const boost::json::object object{{"trace", report.trace},         {"unit", report.unit},          {"requests", report.requests},
                                   {"accesses", report.accesses},   {"distinct", report.distinct},  {"distinct_size", report.distinct_size},
                                   {"bad_lines", report.bad_lines}, {"results", std::move(results)}};
  return boost::json::serialize(object) + "\n";
}

std::string csv(const Report& report) {
  std::string text = "policy,hint_recall,size,size_text,miss_ratio,request_hit_ratio,byte_miss_ratio,token_hit_ratio,prefill_seconds_saved\n";
  for (const Finding& finding : report.findings) {
    const Outcome& outcome = finding.outcome;
    const auto saved = seconds_saved(report, outcome);
    text +=
        finding.setting.policy + format(",%g,", finding.setting.hint_recall) + std::to_string(finding.setting.size) + "," + finding.size_text +
        format(",%.6f,%.6f,%.6f,", outcome.miss_ratio(), share(outcome.requests_hit, outcome.requests), share(outcome.missed_bytes, outcome.bytes)) +
        (outcome.tokens > 0 ? format("%.6f", 1 - share(outcome.missed_tokens, outcome.tokens)) : "") + "," + (saved ? format("%.3f", *saved) : "") +
        "\n";
  }
  return text;
}

std::string svg(const Report& report) {
  constexpr double kWidth = 860, kHeight = 460, kLeft = 64, kRight = 150, kTop = 44, kBottom = 56;
  static constexpr const char* kColours[] = {"#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed",
                                             "#0891b2", "#be185d", "#4d7c0f", "#475569", "#92400e"};
  auto all = sizes(report);
  std::sort(all.begin(), all.end());
  const double low = std::log(static_cast<double>(std::max<std::uint64_t>(1, all.front())));
  const double high = std::max(low + 1e-9, std::log(static_cast<double>(std::max<std::uint64_t>(1, all.back()))));
  const auto x = [&](std::uint64_t size) {
    return kLeft + (kWidth - kLeft - kRight) * (std::log(static_cast<double>(std::max<std::uint64_t>(1, size))) - low) / (high - low);
  };
  const auto y = [&](double miss) { return kTop + (kHeight - kTop - kBottom) * (1 - miss); };
  std::string text =
      format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" font-family=\"sans-serif\" font-size=\"12\">\n", kWidth, kHeight) +
      format("<rect width=\"%g\" height=\"%g\" fill=\"white\"/>\n", kWidth, kHeight) +
      format("<text x=\"%g\" y=\"24\" font-size=\"15\">Miss ratio against cache size</text>\n", kLeft);
  for (int i = 0; i <= 5; ++i) {
    const double miss = i / 5.0;
    text +=
        format("<line x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#e5e7eb\"/><text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%.1f</text>\n",
               kLeft, kWidth - kRight, y(miss), y(miss), kLeft - 8, y(miss) + 4, miss);
  }
  for (const std::uint64_t size : all) {
    text += format("<text x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%s</text>\n", x(size), kHeight - kBottom + 18, grouped(size).c_str());
  }
  text += format("<text x=\"%g\" y=\"%g\" text-anchor=\"middle\">%s, logarithmic</text>\n", (kLeft + kWidth - kRight) / 2, kHeight - 12,
                 report.unit.c_str());
  std::size_t at = 0;
  for (const std::string& name : labels(report)) {
    const char* const colour = kColours[at % std::size(kColours)];
    std::string points, marks;
    for (const std::uint64_t size : all) {
      const Finding* finding = find(report, name, size);
      if (finding == nullptr) continue;
      const double miss = finding->outcome.miss_ratio();
      points += format("%.1f,%.1f ", x(size), y(miss));
      marks += format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>", x(size), y(miss), colour) + name +
               format(" at %s: %.4f</title></circle>\n", grouped(size).c_str(), miss);
    }
    text += format("<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\"%s points=\"", colour, name == "min" ? " stroke-dasharray=\"5 4\"" : "") +
            points + "\"/>\n" + marks;
    const double legend = kTop + 18 * static_cast<double>(at);
    text += format("<rect x=\"%g\" y=\"%.1f\" width=\"12\" height=\"4\" fill=\"%s\"/><text x=\"%g\" y=\"%.1f\">", kWidth - kRight + 16, legend,
                   colour, kWidth - kRight + 34, legend + 7) +
            name + "</text>\n";
    ++at;
  }
  return text + "</svg>\n";
}

std::string html(const Report& report) {
  const auto escaped = [](const std::string& raw) {
    std::string text;
    for (const char c : raw) text += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
    return text;
  };
  return "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>tensorcache simulate</title>\n<body "
         "style=\"font-family:sans-serif;max-width:60em;margin:2em auto\">\n<h1>" +
         escaped(report.trace) + "</h1>\n" + svg(report) + "<pre>" + escaped(table(report)) + "</pre>\n<p>" + escaped(advice(report)) +
         "</p>\n</body></html>\n";
}

std::string advice(const Report& report) {
  auto all = sizes(report);
  std::sort(all.begin(), all.end());
  const Finding* chosen = nullptr;
  double least = 1;
  for (const Finding& finding : report.findings) {
    if (finding.setting.policy != "min") least = std::min(least, finding.outcome.miss_ratio());
  }
  for (const std::uint64_t size : all) {
    const Finding* best = nullptr;
    for (const Finding& finding : report.findings) {
      if (finding.setting.size != size || finding.setting.policy == "min") continue;
      if (best == nullptr || finding.outcome.miss_ratio() < best->outcome.miss_ratio()) best = &finding;
    }
    if (best != nullptr && chosen == nullptr && best->outcome.miss_ratio() <= least + kWorthwhile) chosen = best;
  }
  if (chosen == nullptr) return "No recommendation: only min was simulated.";
  std::string text = "Choose " + label(chosen->setting) + " with " + grouped(chosen->setting.size) + " " + report.unit +
                     options_for(report, chosen->setting) + ": " + format("hit ratio %.1f %%", 100 * (1 - chosen->outcome.miss_ratio()));
  if (const auto saved = seconds_saved(report, chosen->outcome)) {
    text += ", which saves " + saved_text(*saved) + " of prefill";
  } else if (chosen->outcome.tokens > 0) {
    text += format(", which saves the prefill of %s of %s prompt tokens", grouped(chosen->outcome.tokens - chosen->outcome.missed_tokens).c_str(),
                   grouped(chosen->outcome.tokens).c_str());
  }
  return text + (chosen->setting.size == all.back() ? "; a larger cache was not tried." : "; a larger cache gains less than one percentage point.");
}

}   // namespace tensorcache::simulate
