// Whatever a client sends as body, Cache-Control and path: no crash, no exception, and what is
// accepted keeps the promises that the engine and the key rely on.
#include <cmath>
#include <string_view>
#include <variant>

#include "serving/answer/answer_key.h"
#include "fuzz_target.h"
#include "serving/protocol/cache_control.h"
#include "base/core/utf8.h"
#include "serving/protocol/parse_request.h"
#include "serving/protocol/router.h"

namespace {

using namespace tensorcache;
constexpr std::int32_t kVocab = 1000;

bool within(float value, float low, float high) { return std::isfinite(value) && value >= low && value <= high; }

void check_sampling(const engine::Sampling& sampling) {
  FUZZ_CHECK(within(sampling.temperature, 0, 2) && within(sampling.top_p, 0, 1) && within(sampling.min_p, 0, 1));
  FUZZ_CHECK(within(sampling.presence_penalty, -2, 2) && within(sampling.frequency_penalty, -2, 2) && within(sampling.repeat_penalty, 0, 10));
  FUZZ_CHECK(sampling.top_k >= 0);
  FUZZ_CHECK(sampling.seed != 0xFFFF'FFFFu);
  std::int32_t last = -1;
  for (const auto& [token, bias] : sampling.logit_bias) {
    FUZZ_CHECK(token > last && token < kVocab && within(bias, -100, 100));
    last = token;
  }
}

void check(const engine::Request& request) {
  FUZZ_CHECK(request.kind == engine::Request::Kind::kCompletion || !request.messages.empty());
  for (const engine::Message& message : request.messages) FUZZ_CHECK(is_utf8(message.content) && is_utf8(message.name) && !message.role.empty());
  FUZZ_CHECK(is_utf8(request.prompt));
  for (const std::int32_t token : request.prompt_tokens) FUZZ_CHECK(token >= 0 && token < kVocab);
  for (const std::string& stop : request.stop) FUZZ_CHECK(!stop.empty() && is_utf8(stop));
  FUZZ_CHECK(request.max_tokens == -1 || request.max_tokens >= 1);
  FUZZ_CHECK(request.top_logprobs >= 0 && request.top_logprobs <= 20 && (request.logprobs || request.top_logprobs == 0));
  check_sampling(request.sampling);
}

}   // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  using enum protocol::Format;
  for (const auto format : {kChat, kCompletion, kMessages, kResponses}) {
    const auto result = protocol::parse_request(format, text, kVocab);
    if (const protocol::Problem* problem = std::get_if<protocol::Problem>(&result)) {
      FUZZ_CHECK(problem->status == 400 && !problem->message.empty());
      FUZZ_CHECK(is_utf8(protocol::problem_json(*problem)));
      continue;
    }
    const engine::Request& request = *std::get<protocol::ParsedRequest>(result).request;
    check(request);
    // How the JSON is written is not what it says.
    const auto spaced = protocol::parse_request(format, " " + std::string(text) + "\n", kVocab);
    FUZZ_CHECK(std::holds_alternative<protocol::ParsedRequest>(spaced));
    FUZZ_CHECK(answer::answer_key(request, {}, "") == answer::answer_key(*std::get<protocol::ParsedRequest>(spaced).request, {}, ""));
  }
  const protocol::CacheControl control = protocol::parse_cache_control(text);
  FUZZ_CHECK(!control.max_age || control.max_age->count() >= 0);
  const protocol::RouteMatch match = protocol::match_route("GET", text);
  FUZZ_CHECK(match.route != protocol::Route::kNone || !match.method_allowed);
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      R"({"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"h\u00e9"}],"name":"n"}]})",
      R"({"messages":[{"role":"user","content":"hi"}],"temperature":0.5,"top_p":0.9,"top_k":7,"min_p":0.1,"seed":9,"stop":["a","b"],"max_tokens":5})",
      R"({"messages":[{"role":"user","content":"hi"}],"logit_bias":{"7":2,"3":-100},"logprobs":true,"top_logprobs":4,"presence_penalty":1})",
      R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true},"n":1,"user":"u","tools":[]})",
      R"({"prompt":"x","frequency_penalty":-1,"repeat_penalty":1.5,"logprobs":2,"echo":false,"max_completion_tokens":1e9})",
      R"({"prompt":[1,2,999],"seed":-1})",
      "no-cache, no-store, max-age=60, only-if-cached",
      "/v1/models/a%2Fb?limit=5"};
}
