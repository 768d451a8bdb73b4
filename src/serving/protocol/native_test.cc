// llama-server's own completions: fields, replies and streams; and its bodies about tokens.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "serving/protocol/make_reply.h"
#include "serving/protocol/parse_request.h"
#include "serving/protocol/text_request.h"

namespace tensorcache::protocol {
namespace {

using namespace std::chrono_literals;

engine::Delta delta_of(std::string text, std::int32_t id) { return {text, {{{id, text, -0.5F}, {{id, text, -0.5F}, {9, "\xC3", -1.5F}}}}}; }

class Native : public ::testing::Test {
 protected:
  void parse(std::string_view body) {
    auto result = parse_request(Format::kNative, body, 100);
    const auto* problem = std::get_if<Problem>(&result);
    ASSERT_EQ(problem, nullptr) << problem->message;
    parsed_ = std::get<ParsedRequest>(std::move(result));
    head_ = {Format::kNative, "m", "tc-1", 5, true, false, parsed_.request.get(), &parsed_.native};
  }
  [[nodiscard]] static std::string param_of(std::string_view body) {
    const auto result = parse_request(Format::kNative, body, 100);
    const auto* problem = std::get_if<Problem>(&result);
    return problem ? problem->param : "no problem";
  }
  [[nodiscard]] boost::json::value reply(const ReplyEnd& end) const {
    const auto whole = make_whole_reply(head_);
    whole->add(delta_of("a\n", 3));
    whole->add(delta_of("b", 4));
    return boost::json::parse(whole->finish(end));
  }
  [[nodiscard]] std::vector<boost::json::value> events(const ReplyEnd& end) const {
    const auto stream = make_stream_reply(head_);
    std::string out;
    stream->begin(out, {7, 0, 2});
    stream->delta(out, delta_of("a", 3));
    stream->delta(out, delta_of("b", 4));
    stream->finish(out, end);
    std::vector<boost::json::value> events;
    for (std::size_t at = 0; at < out.size();) {
      const std::size_t end_of_event = out.find("\n\n", at);
      EXPECT_EQ(out.substr(at, 6), "data: ");
      events.push_back(boost::json::parse(out.substr(at + 6, end_of_event - at - 6)));
      at = end_of_event + 2;
    }
    return events;
  }

  ParsedRequest parsed_;
  ReplyHead head_;
};

TEST_F(Native, AWholeReplyHasLlamaServersMembers) {
  parse(R"({"prompt":"x","n_predict":2,"seed":42,"stop":["q"],"temperature":0})");
  const boost::json::value json = reply({engine::FinishReason::kLength, {7, 2, 3}, "", 8ms, 4ms});
  EXPECT_EQ(json.at("content"), "a\nb");
  EXPECT_EQ(json.at("tokens"), boost::json::array());
  EXPECT_EQ(json.at("stop"), true);
  EXPECT_EQ(json.at("stop_type"), "limit");
  EXPECT_EQ(json.at("truncated"), false);
  EXPECT_EQ(json.at("has_new_line"), true);
  EXPECT_EQ(json.at("prompt"), "x");
  EXPECT_EQ(json.at("model"), "m");
  EXPECT_EQ(json.at("tokens_predicted"), 2);
  EXPECT_EQ(json.at("tokens_evaluated"), 7);
  EXPECT_EQ(json.at("generation_settings").at("seed"), 42);
  EXPECT_EQ(json.at("generation_settings").at("n_predict"), 2);
  EXPECT_EQ(json.at("generation_settings").at("stop"), boost::json::parse(R"(["q"])"));
  EXPECT_EQ(json.at("timings"), boost::json::parse(R"({"cache_n":3,"prompt_n":4,"prompt_ms":8,"prompt_per_token_ms":2,"prompt_per_second":500,
      "predicted_n":2,"predicted_ms":4,"predicted_per_token_ms":2,"predicted_per_second":250})"));
  EXPECT_FALSE(json.as_object().contains("completion_probabilities"));
}

TEST_F(Native, TheWayItEnded) {
  parse(R"({"prompt":"x","n_predict":5})");
  EXPECT_EQ(reply({engine::FinishReason::kStop, {7, 2, 0}, ""}).at("stop_type"), "eos");
  const boost::json::value word = reply({engine::FinishReason::kStop, {7, 2, 0}, "q"});
  EXPECT_EQ(word.at("stop_type"), "word");
  EXPECT_EQ(word.at("stopping_word"), "q");
  EXPECT_EQ(reply({engine::FinishReason::kLength, {7, 2, 0}, ""}).at("truncated"), true) << "the context was full";
}

TEST_F(Native, OfAStoredAnswerTheTimesAreZeroAndNotInfinite) {
  parse(R"({"prompt":"x"})");
  const boost::json::value timings = reply({engine::FinishReason::kStop, {7, 2, 7}, ""}).at("timings");
  for (const auto& member : timings.as_object()) EXPECT_TRUE(member.value().is_number()) << member.key();
  EXPECT_EQ(timings.at("prompt_n"), 0);
  EXPECT_EQ(timings.at("predicted_per_second"), 0);
}

TEST_F(Native, TokensAndTheirProbabilities) {
  parse(R"({"prompt":"x","n_probs":2,"return_tokens":true})");
  EXPECT_EQ(parsed_.request->top_logprobs, 2);
  const boost::json::value json = reply({});
  EXPECT_EQ(json.at("tokens"), boost::json::parse("[3,4]"));
  const boost::json::value& second = json.at("completion_probabilities").at(1);
  EXPECT_EQ(second.at("id"), 4);
  EXPECT_EQ(second.at("token"), "b");
  EXPECT_EQ(second.at("logprob"), -0.5);
  EXPECT_EQ(second.at("top_logprobs").at(1).at("id"), 9);
  EXPECT_EQ(second.at("top_logprobs").at(1).at("bytes"), boost::json::parse("[195]"));
}

TEST_F(Native, AStreamHasAnEventForEachDeltaAndOneThatStops) {
  parse(R"({"prompt":"x","stream":true,"n_probs":1})");
  const auto all = events({engine::FinishReason::kStop, {7, 2, 2}, ""});
  ASSERT_EQ(all.size(), 3u) << "no [DONE]";
  EXPECT_EQ(all[1].at("content"), "b");
  EXPECT_EQ(all[1].at("tokens"), boost::json::parse("[4]"));
  EXPECT_EQ(all[1].at("stop"), false);
  EXPECT_EQ(all[1].at("tokens_predicted"), 2);
  EXPECT_EQ(all[1].at("tokens_evaluated"), 7);
  EXPECT_EQ(all[1].at("completion_probabilities").at(0).at("id"), 4);
  EXPECT_EQ(all[2].at("stop"), true);
  EXPECT_EQ(all[2].at("content"), "");
  EXPECT_EQ(all[2].at("timings").at("cache_n"), 2);
}

TEST_F(Native, ResponseFieldsChooseMembers) {
  parse(R"({"prompt":"x","n_predict":2,"response_fields":["content","generation_settings/n_predict","no/such","tokens/x"]})");
  EXPECT_EQ(reply({}), boost::json::parse(R"({"content":"a\nb","generation_settings/n_predict":2})"));
}

TEST_F(Native, APromptCanBeAnObjectAndFieldsAreNamed) {
  parse(R"({"prompt":{"prompt_string":"x"},"n_keep":4,"cache_prompt":false,"id_slot":0,"n_probs":0})");
  EXPECT_EQ(parsed_.request->prompt, "x");
  EXPECT_EQ(param_of(R"({"prompt":{"prompt_string":"x","multimodal_data":"abc"}})"), "prompt.multimodal_data");
  EXPECT_EQ(param_of(R"({"prompt":{}})"), "prompt.prompt_string");
  EXPECT_EQ(param_of(R"({"prompt":"x","n_probs":21})"), "n_probs");
  EXPECT_EQ(param_of(R"({"prompt":"x","post_sampling_probs":true})"), "post_sampling_probs");
  EXPECT_EQ(param_of(R"({"prompt":"x","response_fields":[""]})"), "response_fields[0]");
  EXPECT_EQ(param_of(R"({"prompt":"x","response_fields":"a"})"), "response_fields");
  EXPECT_EQ(param_of(R"({"n_predict":2})"), "prompt");
}

template <class Value>
std::string param_of(const std::variant<Value, Problem>& result) {
  const auto* problem = std::get_if<Problem>(&result);
  return problem ? problem->param + " " + problem->code : "no problem";
}

TEST(TextRequest, WrongBodiesAreNamed) {
  EXPECT_EQ(param_of(parse_tokenize("{")), " invalid_json");
  EXPECT_EQ(param_of(parse_tokenize("[]")), " invalid_json");
  EXPECT_EQ(param_of(parse_tokenize("{}")), "content missing_required_parameter");
  EXPECT_EQ(param_of(parse_tokenize(R"({"content":7})")), "content invalid_value");
  EXPECT_EQ(param_of(parse_tokenize(R"({"content":")" + std::string((1 << 20) + 1, 'x') + "\"}")), "content invalid_value");
  EXPECT_EQ(param_of(parse_tokenize(R"({"content":"","with_pieces":1})")), "with_pieces invalid_value");
  EXPECT_EQ(param_of(parse_detokenize("{}", 10)), "tokens missing_required_parameter");
  EXPECT_EQ(param_of(parse_detokenize(R"({"tokens":"a"})", 10)), "tokens invalid_value");
  for (const char* id : {"10", "-1", "1.5", "\"a\"", "99999999999"}) {
    EXPECT_EQ(param_of(parse_detokenize(std::string(R"({"tokens":[1,)") + id + "]}", 10)), "tokens[1] invalid_value") << id;
  }
}

TEST(TextRequest, APieceThatIsNoUtf8IsItsBytes) {
  EXPECT_EQ(pieces_json({1, 2}, {"é", "\xC3"}), R"({"tokens":[{"id":1,"piece":"é"},{"id":2,"piece":[195]}]})");
  EXPECT_EQ(tokens_json({}), R"({"tokens":[]})");
}

}   // namespace
}   // namespace tensorcache::protocol
