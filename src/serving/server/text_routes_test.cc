// llama-server's own routes, as its clients use them.
#include <boost/json/parse.hpp>

#include "testing/server/client.h"

namespace tensorcache::server {
namespace {

class TextRoutes : public testing::ServerTest {
 protected:
  [[nodiscard]] boost::json::value ask(const std::string& path, const std::string& body) {
    const testing::ClientReply reply = post(body, "", path);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return reply.json();
  }
};

TEST_F(TextRoutes, ACompletionIsStoredAndComesBack) {
  start({}, testing::FakeEngine::say({"a", "b"}));
  const std::string body = R"({"prompt":"x","temperature":0,"n_predict":8,"return_tokens":true})";
  const boost::json::value cold = ask("/completion", body), hit = ask("/completion", body);
  EXPECT_EQ(cold.at("content"), "ab");
  EXPECT_EQ(cold.at("tokens").as_array().size(), 2u);
  for (const char* name : {"content", "tokens", "stop_type", "generation_settings", "tokens_predicted", "tokens_evaluated"}) {
    EXPECT_EQ(hit.at(name), cold.at(name)) << name;
  }
  EXPECT_EQ(hit.at("timings").at("prompt_n"), 0);
  EXPECT_EQ(engine_->submitted(), 1u);
  const testing::ClientReply streamed = post(R"({"prompt":"x","temperature":0,"n_predict":8,"stream":true})", "", "/completion");
  EXPECT_EQ(engine_->submitted(), 1u) << "the same answer as a stream is a hit, too";
  EXPECT_EQ(streamed.body.find("[DONE]"), std::string::npos);
  EXPECT_NE(streamed.body.find("\"stop\":true"), std::string::npos);
}

TEST_F(TextRoutes, TokensAndBack) {
  start();
  EXPECT_EQ(ask("/tokenize", R"({"content":"ab"})"), boost::json::parse(R"({"tokens":[97,98]})"));
  EXPECT_EQ(ask("/tokenize", R"({"content":"a","add_special":true,"with_pieces":true})"),
            boost::json::parse(R"({"tokens":[{"id":1,"piece":"\u0001"},{"id":97,"piece":"a"}]})"));
  EXPECT_EQ(ask("/detokenize", R"({"tokens":[97,98]})"), boost::json::parse(R"({"content":"ab"})"));
  EXPECT_EQ(post(R"({"tokens":[-1]})", "", "/detokenize").error("param"), "tokens[0]");
  EXPECT_EQ(post("{}", "", "/tokenize").status, 400);
}

TEST_F(TextRoutes, ThePromptOfAChat) {
  start();
  EXPECT_EQ(ask("/v1/chat/completions/input_tokens", R"({"messages":[{"role":"user","content":"hi"}]})"),
            boost::json::parse(R"({"input_tokens":2})"));
  EXPECT_EQ(ask("/apply-template", R"({"messages":[{"role":"user","content":"hi"}]})"), boost::json::parse(R"({"prompt":"user: hi\n"})"));
  EXPECT_EQ(post(R"({"messages":[]})", "", "/apply-template").error("param"), "messages");
  EXPECT_EQ(engine_->submitted(), 0u);
}

TEST_F(TextRoutes, AModelHasSeveralNames) {
  ServerOptions options;
  options.strict_model = true;
  start(options, testing::FakeEngine::say({"x"}));
  engine_->info_value.aliases = {"other", "third"};
  engine_->info_value.trained_context_tokens = 2048;
  for (const char* name : {"fake-model", "other", "third"}) {
    EXPECT_EQ(get(std::string("/v1/models/") + name).json().at("id"), "fake-model");
    EXPECT_EQ(post(std::string(R"({"prompt":"a","model":")") + name + "\"}", "", "/v1/completions").status, 200) << name;
  }
  EXPECT_EQ(get("/v1/models/fourth").status, 404);
  EXPECT_EQ(post(R"({"prompt":"a","model":"fourth"})", "", "/v1/completions").status, 404);
  const boost::json::value model = get("/v1/models").json().at("data").at(0);
  EXPECT_EQ(model.at("aliases"), boost::json::parse(R"(["other","third"])"));
  EXPECT_EQ(model.at("meta").at("n_ctx_train"), 2048);
}

TEST_F(TextRoutes, PropsAndSlots) {
  start();
  engine_->info_value.slots = 2;
  engine_->info_value.model_path = "m.gguf";
  const boost::json::value props = get("/props").json();
  EXPECT_EQ(props.at("total_slots"), 2);
  EXPECT_EQ(props.at("model_path"), "m.gguf");
  EXPECT_EQ(props.at("model_alias"), "fake-model");
  EXPECT_EQ(props.at("default_generation_settings").at("n_ctx"), engine_->info().context_tokens);
  EXPECT_EQ(props.at("default_generation_settings").at("params").at("top_k"), 40);
  const boost::json::value slots = get("/slots").json();
  ASSERT_EQ(slots.as_array().size(), 2u);
  EXPECT_EQ(slots.at(1).at("id"), 1);
  EXPECT_EQ(slots.at(0).at("is_processing"), false);
}

}   // namespace
}   // namespace tensorcache::server
