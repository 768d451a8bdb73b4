#include "serving/answer/answer.h"

#include <bit>
#include <concepts>
#include <type_traits>

namespace tensorcache::answer {
namespace {

constexpr std::string_view kMagic = "TCA2";
// Minimum sizes of elements: a count larger than the bytes allow is damage, and must not be
// allocated.
constexpr std::size_t kMinCandidateBytes = 12, kMinTokenBytes = kMinCandidateBytes + 4, kMinDeltaBytes = 16, kMinToolCallBytes = 16;

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  template <std::integral T>
  void number(T value) {
    auto bits = static_cast<std::make_unsigned_t<T>>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      out_.push_back(static_cast<char>(static_cast<std::uint8_t>(bits)));
      if constexpr (sizeof(T) > 1) bits = static_cast<std::make_unsigned_t<T>>(bits >> 8);
    }
  }
  void count(std::size_t value) { number(static_cast<std::uint32_t>(value)); }
  void bytes(std::string_view value) {
    count(value.size());
    out_.append(value);
  }
  void candidate(const engine::TokenLogprob::Candidate& value) {
    number(value.id);
    number(std::bit_cast<std::uint32_t>(value.logprob));
    bytes(value.bytes);
  }

 private:
  std::string& out_;
};

// Reads until the first field that does not fit; then every read returns zero or empty, and ok() is
// false.
class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return in_.empty(); }

  [[nodiscard]] std::string_view take(std::size_t count) {
    if (!ok_ || count > in_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = in_.substr(0, count);
    in_.remove_prefix(count);
    return taken;
  }
  template <std::integral T>
  [[nodiscard]] T number() {
    const std::string_view raw = take(sizeof(T));
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < raw.size(); ++i) bits |= std::uint64_t{static_cast<std::uint8_t>(raw[i])} << (8 * i);
    return static_cast<T>(bits);
  }
  [[nodiscard]] std::size_t count(std::size_t min_bytes_each) {
    const std::size_t value = number<std::uint32_t>();
    if (value > in_.size() / min_bytes_each) ok_ = false;
    return ok_ ? value : 0;
  }
  [[nodiscard]] std::string bytes() { return std::string(take(number<std::uint32_t>())); }
  [[nodiscard]] engine::TokenLogprob::Candidate candidate() {
    engine::TokenLogprob::Candidate value;
    value.id = number<std::int32_t>();
    value.logprob = std::bit_cast<float>(number<std::uint32_t>());
    value.bytes = bytes();
    return value;
  }

 private:
  std::string_view in_;
  bool ok_ = true;
};

engine::TokenLogprob read_token(Reader& in) {
  engine::TokenLogprob token{in.candidate(), {}};
  token.top.resize(in.count(kMinCandidateBytes));
  for (engine::TokenLogprob::Candidate& candidate : token.top) candidate = in.candidate();
  return token;
}

engine::ToolCallDelta read_tool_call(Reader& in) {
  engine::ToolCallDelta call;
  call.index = in.number<std::uint32_t>();
  call.id = in.bytes();
  call.name = in.bytes();
  call.arguments = in.bytes();
  return call;
}

}   // namespace

std::string encode_answer(const Answer& answer) {
  std::size_t size = 64;
  for (const engine::Delta& delta : answer.deltas) {
    size += kMinDeltaBytes + delta.text.size() + delta.reasoning.size() + delta.logprobs.size() * 32 + delta.tool_calls.size() * 64;
  }
  std::string result;
  result.reserve(size);
  result.append(kMagic);
  Writer out(result);
  out.number(static_cast<std::uint8_t>(answer.reason));
  out.bytes(answer.stop_sequence);
  out.number(answer.created_unix_s);
  out.number(answer.usage.prompt_tokens);
  out.number(answer.usage.completion_tokens);
  out.number(answer.usage.cached_tokens);
  out.count(answer.deltas.size());
  for (const engine::Delta& delta : answer.deltas) {
    out.bytes(delta.text);
    out.count(delta.logprobs.size());
    for (const engine::TokenLogprob& token : delta.logprobs) {
      out.candidate(token.token);
      out.count(token.top.size());
      for (const engine::TokenLogprob::Candidate& candidate : token.top) out.candidate(candidate);
    }
    out.bytes(delta.reasoning);
    out.count(delta.tool_calls.size());
    for (const engine::ToolCallDelta& call : delta.tool_calls) {
      out.number(call.index);
      out.bytes(call.id);
      out.bytes(call.name);
      out.bytes(call.arguments);
    }
  }
  return result;
}

std::optional<Answer> decode_answer(std::string_view bytes) {
  Reader in(bytes);
  if (in.take(kMagic.size()) != kMagic) return std::nullopt;
  const auto reason = in.number<std::uint8_t>();
  if (reason > static_cast<std::uint8_t>(engine::FinishReason::kToolCalls)) return std::nullopt;
  Answer answer;
  answer.reason = static_cast<engine::FinishReason>(reason);
  answer.stop_sequence = in.bytes();
  answer.created_unix_s = in.number<std::int64_t>();
  answer.usage.prompt_tokens = in.number<std::int32_t>();
  answer.usage.completion_tokens = in.number<std::int32_t>();
  answer.usage.cached_tokens = in.number<std::int32_t>();
  answer.deltas.resize(in.count(kMinDeltaBytes));
  for (engine::Delta& delta : answer.deltas) {
    delta.text = in.bytes();
    delta.logprobs.resize(in.count(kMinTokenBytes));
    for (engine::TokenLogprob& token : delta.logprobs) token = read_token(in);
    delta.reasoning = in.bytes();
    delta.tool_calls.resize(in.count(kMinToolCallBytes));
    for (engine::ToolCallDelta& call : delta.tool_calls) call = read_tool_call(in);
  }
  if (!in.ok() || !in.at_end()) return std::nullopt;
  return answer;
}

}   // namespace tensorcache::answer
