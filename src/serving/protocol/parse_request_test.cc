#include "serving/protocol/ignored_fields.h"
#include "serving/protocol/parse_request.h"

#include <gtest/gtest.h>

#include <utility>

namespace tensorcache::protocol {
namespace {

using Result = std::variant<ParsedRequest, Problem>;
constexpr std::int32_t kVocab = 1000;

Result parse(std::string_view body, Format format = Format::kChat) { return parse_request(format, body, kVocab); }

// A chat request with more fields.
Result with(const std::string& fields) { return parse(R"({"messages":[{"role":"user","content":"hi"}],)" + fields + "}"); }
Result prompt(const std::string& fields) { return parse("{" + fields + "}", Format::kCompletion); }

engine::Request good(const Result& result) {
  if (const Problem* problem = std::get_if<Problem>(&result)) {
    ADD_FAILURE() << problem->message;
    return {};
  }
  return *std::get<ParsedRequest>(result).request;
}

// The field that is wrong, or "accepted".
std::string bad(const Result& result) {
  const Problem* problem = std::get_if<Problem>(&result);
  if (!problem) return "accepted";
  EXPECT_EQ(problem->status, 400);
  EXPECT_FALSE(problem->message.empty());
  return problem->param;
}

TEST(ParseRequest, EveryFieldArrives) {
  const Result result = with(R"("model":"m","max_tokens":5,"temperature":0.5,"top_p":0.25,"top_k":7,"min_p":0.125,"seed":9,"stop":["a","b"],
    "presence_penalty":1,"frequency_penalty":-1,"repeat_penalty":1.5,"logit_bias":{"7":2,"3":-100,"5":0},"logprobs":true,"top_logprobs":4,
    "stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false},"n":1,"user":"u")");
  const engine::Request request = good(result);
  EXPECT_EQ(request.messages, (std::vector<engine::Message>{{"user", "hi", ""}}));
  EXPECT_EQ(request.max_tokens, 5);
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.top_p, 0.25f);
  EXPECT_EQ(request.sampling.top_k, 7);
  EXPECT_EQ(request.sampling.min_p, 0.125f);
  EXPECT_EQ(request.sampling.seed, 9u);
  EXPECT_EQ(request.sampling.presence_penalty, 1.0f);
  EXPECT_EQ(request.sampling.frequency_penalty, -1.0f);
  EXPECT_EQ(request.sampling.repeat_penalty, 1.5f);
  EXPECT_EQ(request.sampling.logit_bias, (std::vector<std::pair<std::int32_t, float>>{{3, -100.0f}, {7, 2.0f}})) << "ascending, without zeros";
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(request.logprobs);
  EXPECT_EQ(request.top_logprobs, 4);
  const ParsedRequest& parsed = std::get<ParsedRequest>(result);
  EXPECT_TRUE(parsed.stream && parsed.include_usage);
  EXPECT_EQ(parsed.model, "m");
}

TEST(ParseRequest, DefaultsAreTheEngines) {
  const engine::Request request = good(with(R"("temperature":null,"max_tokens":null,"stop":null,"stream_options":null,"logit_bias":null)")), fresh;
  EXPECT_EQ(request.sampling.temperature, fresh.sampling.temperature);
  for (const char* tiny : {"1e-40", "1e-9", "0"}) {
    EXPECT_EQ(good(with("\"temperature\":" + std::string(tiny))).sampling.temperature, 0) << "the likeliest token, and so repeatable";
  }
  EXPECT_EQ(request.max_tokens, -1);
  EXPECT_FALSE(request.sampling.seed);
}

TEST(ParseRequest, MessagesOfTextParts) {
  const engine::Request request = good(parse(R"({"messages":[
    {"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
    {"role":"developer","content":"","name":"n"},
    {"role":"assistant","content":"x","refusal":null,"tool_calls":[],"function_call":null,"audio":null,"annotations":[]}]})"));
  EXPECT_EQ(request.messages, (std::vector<engine::Message>{{"system", "a\nb", ""}, {"developer", "", "n"}, {"assistant", "x", ""}}));
}

TEST(ParseRequest, WrongMessagesAreNamed) {
  const auto messages = [](const std::string& list) { return bad(parse("{\"messages\":" + list + "}")); };
  EXPECT_EQ(bad(parse("{}")), "messages");
  EXPECT_EQ(messages("[]"), "messages");
  EXPECT_EQ(messages("null"), "messages");
  EXPECT_EQ(messages("\"hi\""), "messages");
  EXPECT_EQ(messages("[1]"), "messages[0]");
  EXPECT_EQ(messages(R"([{"role":"user","content":"a"},{"role":"function","content":"a"}])"), "messages[1].role");
  EXPECT_EQ(messages(R"([{"content":"a"}])"), "messages[0].role");
  EXPECT_EQ(messages(R"([{"role":5,"content":"a"}])"), "messages[0].role");
  EXPECT_EQ(messages(R"([{"role":"user"}])"), "messages[0].content");
  EXPECT_EQ(messages(R"([{"role":"user","content":null}])"), "messages[0].content");
  EXPECT_EQ(messages(R"([{"role":"user","content":[]}])"), "messages[0].content");
  EXPECT_EQ(messages(R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}]}])"), "messages[0].content[1]");
  EXPECT_EQ(messages(R"([{"role":"user","content":[{"type":"text"}]}])"), "messages[0].content[0].text");
  EXPECT_EQ(messages(R"([{"role":"user","content":"a","tool_calls":[1]}])"), "messages[0].tool_calls[0]");
  EXPECT_EQ(messages(R"([{"role":"user","content":"a","weird":null}])"), "accepted") << "null means that it is not there";
}

TEST(ParseRequest, WrongValuesAreNamed) {
  for (const char* field : {"temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty", "top_k", "seed", "max_tokens",
                            "max_completion_tokens", "stop", "logit_bias", "logprobs", "stream", "stream_options", "n", "model"}) {
    for (const char* value : {"{\"a\":{}}", "[1]", "-1e300", "1.5e300"})
      EXPECT_NE(bad(with(std::string("\"") + field + "\":" + value)), "accepted") << field << value;
    EXPECT_TRUE(bad(with(std::string("\"") + field + "\":[[]]")).starts_with(field)) << field;
  }
  for (const char* fields : {R"("temperature":2.1)", R"("temperature":-0.1)", R"("top_p":1.1)", R"("min_p":-1)", R"("presence_penalty":3)",
                             R"("repeat_penalty":0)", R"("top_k":-2)", R"("top_k":1.5)", R"("max_tokens":0)", R"("max_tokens":-2)", R"("n":2)",
                             R"("n":0)", R"("stop":"")", R"("seed":1.5)", R"("top_logprobs":21,"logprobs":true)", R"("top_logprobs":2)",
                             R"("stream_options":{"include_usage":true})", R"("logprobs":1)", R"("max_tokens":5,"max_completion_tokens":6)"})
    EXPECT_NE(bad(with(fields)), "accepted") << fields;
  EXPECT_EQ(bad(with(R"("tensorcache":{"prio":1})")), "tensorcache.prio");
  for (const char* value : {"-1", "101", "1.5", "\"high\"", "true", "1e300"}) {
    EXPECT_EQ(bad(with(std::string(R"("tensorcache":{"priority":)") + value + "}")), "tensorcache.priority") << value;
  }
  for (const char* value : {"-1", "1e300", "\"soon\"", "\"\"", "true", "[1]"}) {
    EXPECT_EQ(bad(with(std::string(R"("tensorcache":{"keep_for":)") + value + "}")), "tensorcache.keep_for") << value;
    EXPECT_EQ(bad(with(std::string(R"("tensorcache":{"expected_reuse":)") + value + "}")), "tensorcache.expected_reuse") << value;
  }
  EXPECT_EQ(bad(with(R"("tensorcache":{"no_store":1})")), "tensorcache.no_store");
  EXPECT_EQ(bad(with(R"("tensorcache":7)")), "tensorcache");
  EXPECT_EQ(bad(with(R"("stop":["a",""])")), "stop[1]");
}

TEST(ParseRequest, LlamaCppsSamplers) {
  const engine::Sampling sampling =
      good(with(R"("repeat_last_n":5,"typical_p":0.5,"top_n_sigma":1.5,"xtc_probability":0.25,"xtc_threshold":0.125,"dynatemp_range":0.5,
    "dynatemp_exponent":2,"dry_multiplier":0.75,"dry_base":1.5,"dry_allowed_length":3,"dry_penalty_last_n":9,"dry_sequence_breakers":["a"],
    "mirostat":2,"mirostat_tau":4,"mirostat_eta":0.5,"min_keep":1,"ignore_eos":true,"samplers":["top_k","temperature"])"))
          .sampling;
  engine::Sampling expected;
  expected.repeat_last_n = 5;
  expected.typical_p = 0.5f;
  expected.top_n_sigma = 1.5f;
  expected.xtc_probability = 0.25f;
  expected.xtc_threshold = 0.125f;
  expected.dynatemp_range = 0.5f;
  expected.dynatemp_exponent = 2;
  expected.dry_multiplier = 0.75f;
  expected.dry_base = 1.5f;
  expected.dry_allowed_length = 3;
  expected.dry_penalty_last_n = 9;
  expected.dry_sequence_breakers = {"a"};
  expected.mirostat = 2;
  expected.mirostat_tau = 4;
  expected.mirostat_eta = 0.5f;
  expected.min_keep = 1;
  expected.ignore_eos = true;
  expected.samplers = {"top_k", "temperature"};
  EXPECT_EQ(sampling, expected);
  for (const char* name :
       {"repeat_last_n", "typical_p", "xtc_probability", "dry_base", "dry_sequence_breakers", "mirostat", "ignore_eos", "samplers"}) {
    for (const char* value : {"-1.5", "\"x\"", "{}", "[1]"})
      EXPECT_TRUE(bad(with(std::string("\"") + name + "\":" + value)).starts_with(name)) << name << value;
  }
  EXPECT_EQ(bad(with(R"("samplers":["top_k","entropy"])")), "samplers[1]");
}

TEST(ParseRequest, LogitBiasIsCheckedAgainstTheVocabulary) {
  EXPECT_EQ(bad(with(R"("logit_bias":{"1000":1})")), "logit_bias.1000");
  EXPECT_EQ(bad(with(R"("logit_bias":{"-1":1})")), "logit_bias.-1");
  EXPECT_EQ(bad(with(R"("logit_bias":{"hello":101})")), "logit_bias.hello");
  EXPECT_EQ(bad(with(R"("logit_bias":{"1":101})")), "logit_bias.1");
  EXPECT_EQ(bad(with(R"("logit_bias":{"7":1,"07":2})")), "logit_bias");
}

TEST(ParseRequest, HugeMaxTokensIsNoError) {
  EXPECT_EQ(good(with(R"("max_tokens":1e15)")).max_tokens, 2147483647);
  EXPECT_EQ(good(with(R"("max_completion_tokens":18446744073709551615)")).max_tokens, 2147483647);
  EXPECT_EQ(good(with(R"("max_tokens":-1)")).max_tokens, -1) << "no limit";
  EXPECT_EQ(good(with(R"("n_predict":7)")).max_tokens, 7);
}

TEST(ParseRequest, Seeds) {
  EXPECT_EQ(good(with(R"("seed":0)")).sampling.seed, 0u);
  EXPECT_FALSE(good(with(R"("seed":-1)")).sampling.seed) << "llama-server's way to ask for a random one";
  EXPECT_FALSE(good(with(R"("seed":4294967295)")).sampling.seed);
  for (const char* large : {"9223372036854775807", "18446744073709551615", "-5"}) {
    const auto seed = good(with(std::string("\"seed\":") + large)).sampling.seed;
    ASSERT_TRUE(seed) << large;
    EXPECT_NE(*seed, 0xFFFF'FFFFu) << "that one is random for llama.cpp";
  }
}

TEST(ParseRequest, WhatCannotChangeTheAnswerIsAccepted) {
  for (const char* fields :
       {R"("user":"x")", R"("metadata":{"a":"b"})", R"("store":true)", R"("service_tier":"auto")", R"("safety_identifier":"x")",
        R"("prompt_cache_key":"x")", R"("prompt_cache_retention":"24h")", R"("parallel_tool_calls":true)", R"("tools":[])", R"("tool_choice":"auto")",
        R"("response_format":{"type":"text"})", R"("modalities":["text"])", R"("n":1)", R"("tools":null)", R"("cache_prompt":false)",
        R"("mirostat":0)", R"("typical_p":1.0)", R"("grammar":"")", R"("chat_template_kwargs":{})"})
    EXPECT_EQ(bad(with(fields)), "accepted") << fields;
}

TEST(ParseRequest, WhatIsKnownAndNotSupportedIsRefusedByName) {
  const std::pair<const char*, const char*> fields[] = {{"modalities", R"("modalities":["audio"])"},
                                                        {"functions", R"("functions":[{"name":"f"}])"},
                                                        {"function_call", R"("function_call":{"name":"f"})"},
                                                        {"t_max_predict_ms", R"("t_max_predict_ms":5)"},
                                                        {"lora", R"("lora":[{"id":0,"scale":1}])"}};
  for (const auto& [name, text] : fields) EXPECT_EQ(bad(with(text)), name);
  for (const char* field : {"tool_calls", "tool_call_id", "function_call", "audio"}) {
    EXPECT_EQ(bad(parse(std::string(R"({"messages":[{"role":"user","content":"hi",")") + field + R"(":"x"}]})")),
              std::string("messages[0].") + field);
  }
}

TEST(ParseRequest, UnknownFieldsAreIgnoredAndNamed) {
  const std::string body = R"({"messages":[{"role":"assistant","content":null,"provider":"hm","refusal":null},
    {"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}],
    "verbosity":"low","Temperature":0,"nothing":null,"stream":true,"stream_options":{"x":1}})";
  const Result result = parse(body);
  const engine::Request request = good(result);
  ASSERT_EQ(request.messages.size(), 2u);
  EXPECT_EQ(request.messages[0].content, "");
  EXPECT_EQ(request.messages[1].content, "hi");
  EXPECT_EQ(request.sampling.temperature, engine::Sampling().temperature);
  EXPECT_EQ(std::get<ParsedRequest>(result).ignored_fields, (std::vector<std::string>{"messages[0].provider", "messages[1].content[0].cache_control",
                                                                                      "verbosity", "Temperature", "stream_options.x"}));
  EXPECT_EQ(bad(parse_request(Format::kChat, body, kVocab, UnknownFields::kRefuse)), "messages[0].provider");
}

TEST(ParseRequest, ManyUnknownFieldsAreNamedInPart) {
  std::string fields;
  for (int i = 0; i < 1000; ++i) fields += "\"x" + std::to_string(i) + std::string(200, 'y') + "\":1,";
  const Result result = with(fields + R"("seed":1)");
  EXPECT_EQ(good(result).sampling.seed, 1u);
  EXPECT_EQ(std::get<ParsedRequest>(result).ignored_fields.size(), 16u);
  EXPECT_EQ(std::get<ParsedRequest>(result).ignored_fields[0].size(), 64u);
}

TEST(ParseRequest, TheHeaderOfIgnoredFieldsHoldsNothingElse) {
  EXPECT_EQ(ignored_fields_line({}), "");
  const std::vector<std::string> names = {"a", "b\r\nX-Evil: 1", "\xC3\xA4,"};
  EXPECT_EQ(ignored_fields_line(names), "TensorCache-Ignored-Fields: a, b??X-Evil:?1, ???\r\n");
}

TEST(ParseRequest, Prompts) {
  EXPECT_EQ(good(prompt(R"("prompt":"x")")).prompt, "x");
  EXPECT_EQ(good(prompt(R"("prompt":["x"])")).prompt, "x");
  EXPECT_EQ(good(prompt(R"("prompt":[1,2,999])")).prompt_tokens, (std::vector<std::int32_t>{1, 2, 999}));
  EXPECT_EQ(good(prompt(R"("prompt":[[1,2]])")).prompt_tokens, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(good(prompt(R"("prompt":"x","logprobs":0)")).logprobs, true);
  EXPECT_EQ(good(prompt(R"("prompt":"x","echo":false,"suffix":null,"best_of":1)")).prompt, "x");
  EXPECT_EQ(bad(prompt("")), "prompt");
  for (const char* text :
       {R"("prompt":[])", R"("prompt":["a","b"])", R"("prompt":5)", R"("prompt":[[]])", R"("prompt":[["a"]])", R"("prompt":[1,"a"])"})
    EXPECT_TRUE(bad(prompt(text)).starts_with("prompt")) << text;
  EXPECT_EQ(bad(prompt(R"("prompt":[1000])")), "prompt[0]");
  EXPECT_EQ(bad(prompt(R"("prompt":"x","logprobs":6)")), "logprobs");
  EXPECT_EQ(bad(prompt(R"("prompt":"x","echo":true)")), "echo");
  EXPECT_EQ(bad(prompt(R"("prompt":"x","suffix":"y")")), "suffix");
  EXPECT_EQ(bad(prompt(R"("prompt":"x","best_of":2)")), "best_of");
  EXPECT_EQ(bad(prompt(R"("prompt":"x","messages":[])")), "messages");
}

std::string json_error(std::string_view body) {
  const Result result = parse(body);
  const Problem* problem = std::get_if<Problem>(&result);
  if (!problem) return "accepted";
  EXPECT_EQ(problem->code, "invalid_json");
  return problem->message;
}

TEST(ParseRequest, BrokenJson) {
  for (const std::string body : {"", "{", "[]", "1", "{\"messages\":NaN}", "{\"temperature\":nan}", "{} x", "{\"a\":1,}", "\xEF\xBB\xBF{}",
                                 "{\"a\":\"\xC3\x28\"}", "{\"a\":\"\\ud800\"}", "{'a':1}"})
    EXPECT_NE(json_error(body), "accepted") << body;
  EXPECT_NE(json_error(std::string(10 << 20, '[')), "accepted");
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "{\"a\":";
  EXPECT_NE(json_error(nested), "accepted");
}

TEST(ParseRequest, AKeyGivenTwiceIsRefusedByName) {
  EXPECT_NE(json_error(R"({"seed":1,"seed":2})").find("'seed'"), std::string::npos);
  EXPECT_NE(json_error(R"({"messages":[{"role":"user","ro\u006ce":"x"}]})").find("'role'"), std::string::npos) << "also deep, also escaped";
  EXPECT_NE(json_error(R"({"metadata":{"a":{"b":1,"b":1}}})").find("'b'"), std::string::npos);
}

std::variant<ParsedRequest, Problem> chat_with(const std::string& fields, const RequestDefaults& defaults = {}) {
  return parse_request(Format::kChat, R"({"messages":[{"role":"user","content":"a"}],)" + fields + "}", 100, UnknownFields::kIgnore, defaults);
}

TEST(ParseLogitBias, PairsTextsAndNever) {
  const auto parsed = std::get<ParsedRequest>(chat_with(R"("logit_bias":[[7,-100],[3,false],["the",2.5],["9",1]])"));
  const float never = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(parsed.request->sampling.logit_bias, (std::vector<std::pair<std::int32_t, float>>{{3, never}, {7, -100.0F}}));
  EXPECT_EQ(parsed.text_biases, (std::vector<std::pair<std::string, float>>{{"the", 2.5F}, {"9", 1.0F}}));
  const auto object = std::get<ParsedRequest>(chat_with(R"("logit_bias":{"7":1," the":2})"));
  EXPECT_EQ(object.text_biases, (std::vector<std::pair<std::string, float>>{{" the", 2.0F}}));
  EXPECT_TRUE(std::holds_alternative<Problem>(chat_with(R"("logit_bias":[[")" + std::string(1025, 'x') + R"(",1]])")));
  for (const char* wrong : {"[7]", "[[7]]", "[[7,1,2]]", "[[100,1]]", "[[-1,1]]", "[[7,101]]", "[[7,true]]", "[[7,1],[7,2]]", "7"}) {
    EXPECT_TRUE(std::holds_alternative<Problem>(chat_with(std::string("\"logit_bias\":") + wrong))) << wrong;
  }
}

TEST(ParseRequestDefaults, HoldWhereARequestDoesNotSay) {
  RequestDefaults defaults;
  defaults.sampling.temperature = 0.25F;
  defaults.sampling.seed = 42;
  defaults.max_tokens = 9;
  const auto plain = std::get<ParsedRequest>(chat_with(R"("model":"m")", defaults));
  EXPECT_EQ(plain.request->sampling, defaults.sampling);
  EXPECT_EQ(plain.request->max_tokens, 9);
  const auto said = std::get<ParsedRequest>(chat_with(R"("temperature":1,"seed":-1,"max_tokens":20)", defaults));
  EXPECT_EQ(said.request->sampling.temperature, 1.0F);
  EXPECT_EQ(said.request->sampling.seed, std::nullopt);
  EXPECT_EQ(said.request->max_tokens, 20);
}

TEST(ParseLastMessage, OnlyTheAssistantsIsContinued) {
  const auto param = [](const std::string& last, const std::string& fields) {
    const auto result = parse_request(Format::kChat, R"({"messages":[{"role":"user","content":"a"})" + last + "]" + fields + "}", 100);
    const auto* problem = std::get_if<Problem>(&result);
    return problem ? problem->param : std::string("no problem");
  };
  const std::string answer = R"(,{"role":"assistant","content":"b"})";
  EXPECT_EQ(param(answer, R"(,"continue_final_message":true,"add_generation_prompt":false)"), "no problem");
  EXPECT_EQ(param(answer, R"(,"continue_final_message":true,"add_generation_prompt":true)"), "continue_final_message");
  EXPECT_EQ(param("", R"(,"continue_final_message":true)"), "continue_final_message");
  EXPECT_EQ(param("", R"(,"add_generation_prompt":false)"), "add_generation_prompt");
  EXPECT_EQ(param("", R"(,"add_generation_prompt":true)"), "no problem");
  EXPECT_EQ(param(answer + answer, ""), "messages");
}

}   // namespace
}   // namespace tensorcache::protocol
