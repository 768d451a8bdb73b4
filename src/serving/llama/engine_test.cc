// Requests and their ends: limits, stops, cancels, refusals.
#include <fstream>

#include "testing/llama/engine.h"

namespace tensorcache::llama {
namespace {

using std::chrono::steady_clock;

void one_place(LlamaOptions& options) {
  options.parallel = 1;
  options.ctx_size = 2048;
}

TEST(EngineRequests, EndAtMaxTokensOrWhereTheContextEnds) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_place);
  const auto limited = engine.ask(testing::random_tokens(1, 10), 5);
  EXPECT_EQ(limited->finish()->reason, engine::FinishReason::kLength);
  EXPECT_EQ(limited->finish()->usage.completion_tokens, 5);
  const auto full = engine.ask(testing::random_tokens(2, 2000), -1);
  EXPECT_EQ(full->finish()->reason, engine::FinishReason::kLength);
  EXPECT_EQ(full->finish()->usage.completion_tokens, 49) << "the last token needs no place";
}

TEST(EngineRequests, StopAtAStringThatBeginsInsideAToken) {
  testing::TestEngine engine(testing::TinyModel::kAttention);
  engine::Request request = testing::TestEngine::request(testing::random_tokens(3, 10), 12);
  request.sampling.logit_bias.clear();
  for (int byte = 0; byte < 256; ++byte) {   // answers of letters only
    if (byte < 'a' || byte > 'z') request.sampling.logit_bias.emplace_back(3 + byte, -100.0f);
  }
  request.sampling.logit_bias.insert(request.sampling.logit_bias.begin(), {{0, -100.0f}, {1, -100.0f}, {2, -100.0f}});
  const std::string whole = engine.ask(request)->text();
  ASSERT_EQ(whole.size(), 12u);
  request.stop = {whole.substr(5, 3)};
  const auto stopped = engine.ask(request);
  EXPECT_EQ(stopped->finish()->reason, engine::FinishReason::kStop);
  EXPECT_EQ(stopped->text(), whole.substr(0, whole.find(request.stop[0])));
}

TEST(EngineRequests, ThatCannotBeAreRefusedWithTheirField) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_place);
  const auto too_long = engine.ask(testing::random_tokens(4, 2048), 1);
  ASSERT_TRUE(too_long->failure());
  EXPECT_EQ(too_long->failure()->code, engine::Failure::Code::kContextOverflow);
  EXPECT_EQ(too_long->failure()->param, "prompt");
  const auto unknown = engine.ask(testing::Tokens{testing::kTinyVocabTokens}, 1);
  ASSERT_TRUE(unknown->failure());
  EXPECT_EQ(unknown->failure()->code, engine::Failure::Code::kBadRequest);
  EXPECT_EQ(unknown->failure()->param, "prompt");
  engine::Request huge = testing::TestEngine::request({}, 1);   // minutes to tokenize, and everybody would wait for it
  huge.prompt = std::string(10 << 20, 'x');
  const auto far_too_long = engine.submit(huge);
  const auto beside = engine.submit(testing::TestEngine::request(testing::random_tokens(5, 10), 1));
  ASSERT_TRUE(far_too_long->wait_end().failure());
  EXPECT_EQ(far_too_long->failure()->code, engine::Failure::Code::kContextOverflow);
  EXPECT_NE(far_too_long->failure()->message.find("far longer"), std::string::npos);
  EXPECT_TRUE(beside->wait_end().finish()) << "and the engine goes on";
}

TEST(EngineTexts, BecomeTokensAndTextAgain) {
  testing::TestEngine made(testing::TinyModel::kAttention, one_place);
  const engine::Engine& engine = made.engine();
  const auto tokens_of = [&](std::string_view text, bool add_special, bool parse_special) {
    const auto tokens = engine.tokenize_text(text, {.add_special = add_special, .parse_special = parse_special});
    return std::get<std::vector<std::int32_t>>(tokens);
  };
  const std::vector<std::int32_t> plain = tokens_of("ab", false, true);
  std::string text;
  for (const std::int32_t token : plain) text += engine.token_bytes(token);
  EXPECT_NE(text.find("ab"), std::string::npos);
  std::vector<std::int32_t> with_begin = plain;
  with_begin.insert(with_begin.begin(), 1);
  EXPECT_EQ(tokens_of("ab", true, true), with_begin);
  EXPECT_TRUE(tokens_of("", false, true).empty());
  EXPECT_EQ(engine.token_bytes(2), engine.info().eos_token);
  EXPECT_EQ(tokens_of(engine.info().eos_token, false, true).back(), 2);
  EXPECT_NE(tokens_of(engine.info().eos_token, false, false).back(), 2) << "only text";
  engine::Request chat;
  chat.messages = {{"user", "hi"}};
  EXPECT_EQ(std::get<std::string>(engine.prompt_text(chat)), "user: hi\nassistant: ");
  EXPECT_EQ(std::get<0>(engine.tokenize(chat)), tokens_of("user: hi\nassistant: ", true, true));
}

TEST(EngineRequests, CanBeCancelledWhileTheyWaitReadAndWrite) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_place);
  engine::Engine::Id writing_id = 0, waiting_id = 0, reading_id = 0;
  const auto writing = engine.submit(testing::TestEngine::request(testing::random_tokens(6, 10), 2000), &writing_id);
  writing->wait_deltas(2);
  const auto waiting = engine.submit(testing::TestEngine::request(testing::random_tokens(7, 10), 2), &waiting_id);
  engine.engine().cancel(waiting_id);
  ASSERT_TRUE(waiting->wait_end().failure());
  EXPECT_EQ(waiting->failure()->code, engine::Failure::Code::kCancelled);
  EXPECT_FALSE(writing->finish()) << "one that waits is let go at once";
  engine.engine().cancel(writing_id);
  ASSERT_TRUE(writing->wait_end().failure());
  EXPECT_EQ(writing->failure()->code, engine::Failure::Code::kCancelled);
  const auto reading = engine.submit(testing::TestEngine::request(testing::random_tokens(8, 2000), 40), &reading_id);
  reading->wait_begun();
  engine.engine().cancel(reading_id);
  EXPECT_TRUE(reading->wait_end().failure());
  engine.engine().cancel(reading_id);   // known no more
  engine.settle();
  EXPECT_EQ(engine.engine().stats().cancelled, 3u);
  EXPECT_TRUE(engine.ask(testing::random_tokens(9, 10), 2)->finish()) << "the place is free";
}

TEST(EngineRequests, BeyondTheQueueAreRefused) {
  testing::TestEngine engine(testing::TinyModel::kAttention, [](LlamaOptions& options) {
    one_place(options);
    options.max_queue = 1;
  });
  const auto running = engine.submit(testing::TestEngine::request(testing::random_tokens(10, 10), 1500));
  running->wait_begun();
  const auto queued = engine.submit(testing::TestEngine::request(testing::random_tokens(11, 10), 2));
  const auto refused = engine.submit(testing::TestEngine::request(testing::random_tokens(12, 10), 2));
  ASSERT_TRUE(refused->failure());
  EXPECT_EQ(refused->failure()->code, engine::Failure::Code::kOverloaded);
  EXPECT_TRUE(queued->wait_end().finish() && running->wait_end().finish());
}

engine::Request of_tenant(const char* tenant, unsigned seed, int tokens) {
  engine::Request request = testing::TestEngine::request(testing::random_tokens(seed, 10), tokens);
  request.tenant = tenant;
  return request;
}

TEST(EngineRequests, OneTenantFillsItsOwnQueueOnlyAndTenantsTakeTurns) {
  testing::TestEngine engine(testing::TinyModel::kAttention, [](LlamaOptions& options) {
    one_place(options);
    options.max_queue = 8;
    options.max_queue_per_tenant = 3;
  });
  const auto running = engine.submit(of_tenant("a", 20, 1500));
  running->wait_begun();
  std::vector<testing::SinkPtr> waiting;
  for (unsigned i = 0; i < 3; ++i) waiting.push_back(engine.submit(of_tenant("a", 21 + i, 200)));
  const auto refused = engine.submit(of_tenant("a", 30, 2));
  ASSERT_TRUE(refused->failure());
  EXPECT_EQ(refused->failure()->code, engine::Failure::Code::kOverloaded);
  const auto other = engine.submit(of_tenant("b", 31, 2));
  EXPECT_TRUE(other->wait_end().finish()) << "there is room for another's";
  EXPECT_FALSE(waiting[1]->finish()) << "it waited for all of the first one's";
  for (const auto& sink : waiting) EXPECT_TRUE(sink->wait_end().finish());
  EXPECT_EQ(engine.engine().stats().overloaded, 1u);
  EXPECT_TRUE(engine.submit(of_tenant("a", 32, 2))->wait_end().finish()) << "its places are free again";
}

TEST(EngineRequests, TooLongOnesAreCounted) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_place);
  const auto refused = engine.submit(testing::TestEngine::request(testing::random_tokens(33, 5000), 2));
  ASSERT_TRUE(refused->wait_end().failure());
  EXPECT_EQ(refused->failure()->code, engine::Failure::Code::kContextOverflow);
  EXPECT_EQ(engine.engine().stats().too_long, 1u);
  EXPECT_EQ(engine.engine().stats().failed, 0u);
}

TEST(EngineRequests, OfAllLengthsEndThoughOneIsVeryLong) {
  testing::TestEngine engine(testing::TinyModel::kAttention);
  const auto longest = engine.submit(testing::TestEngine::request(testing::random_tokens(13, 2000), 4));
  std::vector<testing::SinkPtr> sinks;
  for (unsigned i = 0; i < 60; ++i) sinks.push_back(engine.submit(testing::TestEngine::request(testing::random_tokens(100 + i, 30), 8)));
  // It is passed over by shorter ones, but not for ever.
  longest->wait_end();
  int unfinished = 0;
  for (const auto& sink : sinks) unfinished += !sink->finish();
  for (const auto& sink : sinks) EXPECT_TRUE(sink->wait_end().finish());
  EXPECT_GT(unfinished, 0) << "the long one waited for all of the short ones";
}

TEST(EngineStop, LetsFinishWhatCanAndCutsOffTheRest) {
  testing::TestEngine engine(testing::TinyModel::kAttention, one_place);
  const auto running = engine.submit(testing::TestEngine::request(testing::random_tokens(14, 10), 2000));
  const auto queued = engine.submit(testing::TestEngine::request(testing::random_tokens(15, 10), 2000));
  running->wait_deltas(1);
  engine.engine().stop(steady_clock::now());
  for (const auto& sink : {running, queued}) {
    ASSERT_TRUE(sink->wait_end().failure());
    EXPECT_EQ(sink->failure()->code, engine::Failure::Code::kShuttingDown);
  }
  EXPECT_EQ(engine.submit(testing::TestEngine::request(testing::random_tokens(16, 10), 1))->wait_end().failure()->code,
            engine::Failure::Code::kShuttingDown);

  testing::TestEngine patient(testing::TinyModel::kAttention, one_place);
  const auto finishing = patient.submit(testing::TestEngine::request(testing::random_tokens(17, 10), 50));
  patient.engine().stop(steady_clock::now() + std::chrono::seconds(30));
  EXPECT_TRUE(finishing->wait_end().finish());
}

TEST(EngineRequests, TextTheTokenizerThrowsAtFailsAlone) {
  testing::TestEngine engine(testing::TinyModel::kNoByteTokens);
  engine::Request request = testing::TestEngine::request({}, 2);
  request.prompt = "\xE2\x82\xAC";   // it has no token for it, and none for its bytes
  const auto failed = engine.ask(request);
  ASSERT_TRUE(failed->failure());
  EXPECT_NE(failed->failure()->message.find("cannot be read"), std::string::npos) << failed->failure()->message;
  EXPECT_TRUE(engine.ask(testing::random_tokens(5, 10), 1)->finish());
}

// llama.cpp rounds the context up, and cuts the batch to what was asked for: a prompt between the two ended the process.
TEST(EngineRequests, FillAContextThatIsNoMultipleOfTheBatch) {
  for (const int context : {128, 400, 1000}) {
    testing::TestEngine engine(testing::TinyModel::kAttention, [&](LlamaOptions& options) {
      one_place(options);
      options.ctx_size = context;
      options.batch_size = 2048;
    });
    const int whole = engine.engine().info().context_tokens;
    EXPECT_GE(whole, context);
    for (const int tokens : {context + 1, whole - 1}) {
      const auto answered = engine.ask(testing::random_tokens(6, static_cast<std::size_t>(tokens)), 1);
      ASSERT_TRUE(answered->finish()) << context << " " << tokens;
    }
  }
}

TEST(EngineChat, RendersTheModelsOwnTemplate) {
  testing::TestEngine engine(testing::TinyModel::kAttention);
  engine::Request chat = testing::TestEngine::request({}, 4);
  chat.kind = engine::Request::Kind::kChat;
  chat.messages = {{"user", "hi", ""}};
  engine::Request text = testing::TestEngine::request({}, 4);
  text.prompt = "user: hi\nassistant: ";
  const auto from_chat = engine.ask(chat), from_text = engine.ask(text);
  EXPECT_EQ(from_chat->finish()->usage.prompt_tokens, from_text->finish()->usage.prompt_tokens);
  EXPECT_EQ(from_chat->tokens(), from_text->tokens());
}

TEST(EngineChat, ANameOfABuiltInTemplateIsThatTemplate) {
  testing::TestEngine engine(testing::TinyModel::kAttention, [](LlamaOptions& options) { options.chat_template = "llama3"; });
  const auto prompt_tokens = [&](const std::string& content) {
    engine::Request chat = testing::TestEngine::request({}, 1);
    chat.kind = engine::Request::Kind::kChat;
    chat.messages = {{"user", content, ""}};
    return engine.ask(chat)->finish()->usage.prompt_tokens;
  };
  EXPECT_EQ(prompt_tokens("hello") - prompt_tokens("hi"), 3);
  EXPECT_GT(prompt_tokens("hi"), 40) << "with the template's own words around it";
}

TEST(EngineChat, TheTemplateSeesNames) {
  testing::TestEngine engine(testing::TinyModel::kAttention, [](LlamaOptions& options) {
    options.chat_template = "{% for m in messages %}{{ m.name }}: {{ m.content }}\n{% endfor %}";
  });
  const auto prompt_tokens = [&](const std::string& name) {
    engine::Request chat = testing::TestEngine::request({}, 1);
    chat.kind = engine::Request::Kind::kChat;
    chat.messages = {{"user", "hi", name}};
    return engine.ask(chat)->finish()->usage.prompt_tokens;
  };
  EXPECT_EQ(prompt_tokens("barbara") - prompt_tokens("bob"), 4);
}

TEST(EngineStart, NamesTheFileOrOptionThatIsWrong) {
  const std::string good = testing::make_tiny_model(testing::TinyModel::kAttention);
  const std::string cut = ::testing::TempDir() + "cut.gguf", text = ::testing::TempDir() + "text.gguf";
  std::ifstream whole(good, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(whole)), {});
  std::ofstream(cut, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  std::ofstream(text) << "no model";
  const auto expect_said = [](const std::function<void(LlamaOptions&)>& change, const std::string& said) {
    LlamaOptions options;
    options.ctx_size = 1024;
    options.parallel = 1;
    change(options);
    Cache cache({.capacity_bytes = 1 << 20});
    try {
      const auto engine = make_llama_engine(options, cache);
      ADD_FAILURE() << "no error that names " << said;
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    }
  };
  for (const auto& path : {std::string("missing.gguf"), cut, text}) expect_said([&](auto& o) { o.model_path = path; }, path);
  expect_said([&](auto& o) { o.model_path = good, o.cache_type_k = "q9"; }, "--cache-type-k");
  expect_said([&](auto& o) { o.model_path = good, o.flash_attn = "maybe"; }, "--flash-attn");
  expect_said([&](auto& o) { o.model_path = good, o.loras = {{"none.gguf", 1.0f}}; }, "none.gguf");
  expect_said([&](auto& o) { o.model_path = good, o.parallel = 0; }, "--parallel");
  for (const char* text_without_messages : {"lama3", "/some/file.jinja", "{% if false %}{{ messages }}{% endif %}"}) {
    expect_said([&](auto& o) { o.model_path = good, o.chat_template = text_without_messages; }, "--chat-template: the messages do not appear");
  }
  expect_said([&](auto& o) { o.model_path = good, o.batch_size = 4; }, "--batch-size");
  expect_said([&](auto& o) { o.model_path = testing::make_tiny_model(testing::TinyModel::kRecurrent), o.deterministic = true; }, "--deterministic");
}

}   // namespace
}   // namespace tensorcache::llama
