#include "tools/loadgen/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <cstdio>
#include <future>
#include <mutex>
#include <thread>

#include "tools/loadgen/report.h"

namespace tensorcache::loadgen {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using ::testing::HasSubstr;
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

// Answers one request after the other, each in a thread of its own connection.
class TestServer {
 public:
  using Handler = std::function<Response(const Request&)>;
  explicit TestServer(Handler handler) : handler_(std::move(handler)), acceptor_(io_, {asio::ip::make_address("127.0.0.1"), 0}) {
    port_ = acceptor_.local_endpoint().port();
    thread_ = std::thread([this] { accept(); });
  }
  ~TestServer() {
    stopping_ = true;
    asio::ip::tcp::socket knock(io_);
    knock.connect({asio::ip::make_address("127.0.0.1"), port_});   // wakes accept()
    thread_.join();
    for (std::thread& each : connections_) each.join();
  }
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::atomic<int> accepted{0};

 private:
  void accept() {
    while (true) {
      asio::ip::tcp::socket socket(io_);
      acceptor_.accept(socket);
      if (stopping_) return;
      ++accepted;
      connections_.emplace_back([this, moved = std::move(socket)]() mutable { serve(moved); });
    }
  }
  void serve(asio::ip::tcp::socket& socket) {
    boost::beast::flat_buffer buffer;
    boost::system::error_code error;
    while (true) {
      Request request;
      http::read(socket, buffer, request, error);
      if (error) return;
      Response response = handler_(request);
      const bool close = response["X-Close"] == "silently";
      response.prepare_payload();
      http::write(socket, response, error);
      if (error || close) return;
    }
  }
  Handler handler_;
  asio::io_context io_;
  asio::ip::tcp::acceptor acceptor_;
  unsigned short port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
  std::vector<std::thread> connections_;
};

Response streamed(const std::string& text) {
  Response response(http::status::ok, 11);
  response.set(http::field::content_type, "text/event-stream");
  const auto event = [](boost::json::object object) { return "data: " + boost::json::serialize(object) + "\n\n"; };
  const auto choice = [](boost::json::object delta, boost::json::value reason) {
    return boost::json::object{{"choices", boost::json::array{boost::json::object{{"delta", delta}, {"finish_reason", reason}}}}};
  };
  response.body() = event(choice({{"role", "assistant"}}, nullptr)) + event(choice({{"content", text}}, nullptr)) + event(choice({}, "stop")) +
                    event({{"choices", boost::json::array{}}, {"usage", boost::json::object{{"prompt_tokens", 10}, {"completion_tokens", 2}}}}) +
                    "data: [DONE]\n\n";
  return response;
}

Response plain(http::status status, const std::string& body) {
  Response response(status, 11);
  response.set(http::field::content_type, "application/json");
  response.body() = body;
  return response;
}

struct RunTest : ::testing::Test {
  RunTest() {
    shape.conversations = 2;
    shape.turns = 2;
    shape.system_words = 5;
    shape.document_words = 0;
    shape.question_words = 3;
    options.model = "m";
  }
  Response record(const Request& request) {
    const std::lock_guard lock(mutex);
    requests.push_back(request);
    return streamed("answer " + std::to_string(requests.size()));
  }
  boost::json::object body(std::size_t i) { return boost::json::parse(requests[i].body()).as_object(); }

  Shape shape;
  RunOptions options;
  std::mutex mutex;
  std::vector<Request> requests;
};

TEST_F(RunTest, ConversationsCarryTheirAnswersOn) {
  TestServer server([this](const Request& request) { return record(request); });
  options.url = server.url();
  options.api_key = "secret";
  options.extra_body = R"({"cache_prompt":false})";
  options.headers = {{"Cache-Control", "no-cache"}};
  const Workload work = conversations(shape);
  const Result result = run(work, options, {});
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(result.phase_wall_s.size(), 2u);
  const boost::json::array messages = body(2).at("messages").as_array();
  ASSERT_EQ(messages.size(), 4u);   // system, user, assistant, user
  EXPECT_EQ(messages[2].at("content").as_string(), "answer 1");
  EXPECT_EQ(messages[3].at("content").as_string(), work.phases[1].turns[0].user);
  EXPECT_EQ(body(0).at("temperature").to_number<double>(), 0);
  EXPECT_FALSE(body(0).at("cache_prompt").as_bool());
  EXPECT_EQ(requests[0]["Authorization"], "Bearer secret");
  EXPECT_EQ(requests[0]["Cache-Control"], "no-cache");
  EXPECT_EQ(server.accepted, 1);   // one connection, kept
  for (const Sample& sample : result.samples) {
    EXPECT_EQ(sample.error, "");
    EXPECT_EQ(sample.prompt_tokens, 10u);
  }
}

TEST_F(RunTest, HistoryTakesThePlaceOfTheServersAnswers) {
  TestServer server([this](const Request& request) { return record(request); });
  options.url = server.url();
  const Workload work = conversations(shape);
  const std::string path = ::testing::TempDir() + "run_test.replies";
  save_replies(path, work, run(work, options, {}));
  const History history = read_replies(path);
  std::remove(path.c_str());
  options.history = &history;
  (void)run(work, options, {});
  ASSERT_EQ(requests.size(), 8u);
  EXPECT_EQ(requests[6].body(), requests[2].body());
  EXPECT_EQ(requests[7].body(), requests[3].body());
}

TEST_F(RunTest, TheModelIsAskedForWhereNoneIsGiven) {
  TestServer server([this](const Request& request) {
    return request.target() == "/v1/models" ? plain(http::status::ok, R"({"data":[{"id":"tiny"}]})") : record(request);
  });
  options.url = server.url() + "/v1/";
  options.model.clear();
  EXPECT_EQ(run(conversations(shape), options, {}).model, "tiny");
  EXPECT_EQ(body(0).at("model").as_string(), "tiny");
}

TEST_F(RunTest, AConnectionTheServerClosedIsOpenedAgain) {
  TestServer server([this](const Request& request) {
    Response response = record(request);
    response.set("X-Close", "silently");
    return response;
  });
  options.url = server.url();
  for (const Sample& sample : run(conversations(shape), options, {}).samples) EXPECT_EQ(sample.error, "");
  EXPECT_EQ(server.accepted, 4);
}

TEST_F(RunTest, AFailedTurnEndsItsConversationOnly) {
  TestServer server([this](const Request& request) {
    Response response = record(request);
    return requests.size() == 1 ? plain(http::status::service_unavailable, R"({"error":{"message":"busy"}})") : response;
  });
  options.url = server.url();
  const Workload work = conversations(shape);
  const Result result = run(work, options, {});
  EXPECT_EQ(result.samples[0].error, "HTTP 503: busy");
  EXPECT_EQ(result.samples[1].error, "");
  EXPECT_THAT(result.samples[2].error, HasSubstr("skipped"));
  EXPECT_EQ(result.samples[3].error, "");
  EXPECT_EQ(requests.size(), 3u);
  const std::vector<Summary> found = summaries(work, result);
  EXPECT_EQ(found.back().errors, 2u);
  EXPECT_THAT(table(found), HasSubstr("error in turn 1: HTTP 503: busy"));
}

TEST_F(RunTest, LaterTurnsAloneGoOnFromAHistory) {
  TestServer server([this](const Request& request) { return record(request); });
  options.url = server.url();
  const Result whole = run(conversations(shape), options, {});
  const auto bodies = [this] {
    std::vector<std::string> all;
    for (const Request& request : std::exchange(requests, {})) all.push_back(request.body());
    return all;
  };
  const std::vector<std::string> before = bodies();
  History history;
  for (const Sample& sample : whole.samples) history[{sample.session, sample.turn}] = sample.text;
  options.history = &history;
  options.first_phase = shape.turns - 1;
  const Workload work = conversations(shape);
  const Result last = run(work, options, {});
  EXPECT_EQ(last.samples.size(), shape.conversations);
  EXPECT_EQ(bodies(), std::vector<std::string>(before.end() - static_cast<std::ptrdiff_t>(shape.conversations), before.end()));
  EXPECT_EQ(summaries(work, last).back().requests, shape.conversations);
  history.clear();
  EXPECT_THROW((void)run(work, options, {}), std::runtime_error);
}

TEST_F(RunTest, EveryWaitHasAnEnd) {
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  TestServer server([this, gone](const Request& request) {
    gone.wait();
    return record(request);
  });
  options.url = server.url();
  options.timeout = std::chrono::milliseconds(100);
  shape.turns = 1;
  EXPECT_EQ(run(conversations(shape), options, {}).samples[0].error, "timed out");
  options.timeout = std::chrono::seconds(60);
  options.max_time = std::chrono::milliseconds(100);
  const Result result = run(conversations(shape), options, {});
  EXPECT_EQ(result.samples[0].error, "timed out");
  EXPECT_THAT(result.samples[1].error, HasSubstr("not sent"));
  go.set_value();
}

TEST_F(RunTest, NobodyThereIsSaid) {
  std::string url;
  {
    TestServer gone([this](const Request& request) { return record(request); });
    url = gone.url();
  }
  options.url = url;
  EXPECT_THAT(run(conversations(shape), options, {}).samples[0].error, HasSubstr("cannot connect to 127.0.0.1:"));
  options.model.clear();
  EXPECT_THROW((void)run(conversations(shape), options, {}), std::runtime_error);
}

TEST_F(RunTest, TheReportIsOneJsonObject) {
  TestServer server([this](const Request& request) { return record(request); });
  options.url = server.url();
  const Workload work = conversations(shape);
  const boost::json::value report = boost::json::parse(json_report(work, run(work, options, {}), options.url));
  EXPECT_EQ(report.at("workload").as_string(), "conversations");
  ASSERT_EQ(report.at("phases").as_array().size(), 2u);
  EXPECT_EQ(report.at("phases").at(1).at("name").as_string(), "turn 2");
  EXPECT_EQ(report.at("total").at("requests").to_number<int>(), 4);
  EXPECT_EQ(report.at("total").at("completion_tokens").to_number<int>(), 8);
}

}   // namespace
}   // namespace tensorcache::loadgen
