#include "app/commands/access_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "app/commands/log_sink.h"
#include "testing/core/eventually.h"

namespace tensorcache::commands {
namespace {

server::RequestRecord completion() {
  server::RequestRecord record;
  record.id = "req_1";
  record.tenant = "acme";
  record.method = "POST";
  record.target = "/v1/chat/completions";
  record.route = "chat";
  record.status = 200;
  record.source = "computed";
  record.usage = {.prompt_tokens = 916, .completion_tokens = 24, .cached_tokens = 896};
  record.first_token_seconds = 0.29;
  record.total_seconds = 0.3104;
  return record;
}

TEST(AccessLog, ALineOfText) {
  EXPECT_EQ(access_text(completion()),
            "POST /v1/chat/completions 200 tenant=acme prompt=916 cached=896 output=24 ttft=0.290s total=0.310s answer=computed id=req_1");
  server::RequestRecord other;
  other.method = "GET";
  other.target = "/a\x1b[2J\n\xffPOST";
  other.status = 404;
  other.id = "req_2";
  EXPECT_EQ(access_text(other), "GET /a?[2J??POST 404 total=0.000s id=req_2");
}

TEST(AccessLog, AJsonObject) {
  EXPECT_EQ(access_json(completion()),
            R"({"message":"request","id":"req_1","tenant":"acme","method":"POST","target":"/v1/chat/completions","route":"chat","status":200,)"
            R"("total_seconds":0.310,"prompt_tokens":916,"cached_tokens":896,"output_tokens":24,"first_token_seconds":0.290,"answer":"computed"})");
}

// What reads the other end of a pipe.
struct Pipe {
  Pipe() { EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  [[nodiscard]] std::string read() const {
    std::string text(1 << 20, 0);
    const ssize_t count = ::read(ends[0], text.data(), text.size());
    return text.substr(0, static_cast<std::size_t>(std::max<ssize_t>(0, count)));
  }
  // The next lines.
  [[nodiscard]] std::string read_lines(std::ptrdiff_t lines) const {
    std::string text;
    const auto are_there = [&] {
      text += read();
      return std::count(text.begin(), text.end(), '\n') >= lines;
    };
    EXPECT_TRUE(testing::eventually(are_there)) << text;
    return text;
  }
  int ends[2];
};

TEST(LogSink, GathersRequestsForAMomentAndNothingElse) {
  const Pipe pipe;
  const auto sink = std::make_shared<LogSink>(pipe.ends[1]);
  sink->set_pattern("%v");
  spdlog::logger requests(kRequestLogger, sink), others("tensorcache", sink);
  requests.info("one");
  others.info("two");
  EXPECT_EQ(pipe.read_lines(2), "one\ntwo\n") << "in order";
  requests.info("three");
  EXPECT_EQ(pipe.read_lines(1), "three\n");
}

TEST(LogSink, ManyThreadsLoseNoLine) {
  const Pipe pipe;
  int lines = 0;
  {
    const auto sink = std::make_shared<LogSink>(pipe.ends[1]);
    sink->set_pattern("%v");
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        spdlog::logger requests(kRequestLogger, sink);
        for (int i = 0; i < 1000; ++i) requests.info("a line");
      });
    }
  }
  const std::string text = pipe.read();
  for (std::size_t at = 0; (at = text.find("a line\n", at)) != std::string::npos; at += 7) ++lines;
  EXPECT_EQ(lines, 4000);
  EXPECT_EQ(text.size(), 28'000u);
}

// A full pipe, or a terminal that was told to stop.
TEST(LogSink, WhoLogsNeverWaitsForWhoReads) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const auto begin = std::chrono::steady_clock::now();
  {
    const auto sink = std::make_shared<LogSink>(ends[1]);
    sink->set_pattern("%v");
    spdlog::logger requests(kRequestLogger, sink), others("tensorcache", sink);
    const std::string line(1000, 'x');
    for (int i = 0; i < 3000; ++i) (i % 2 == 0 ? requests : others).info(line);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4)) << "nor does it keep the process from ending";
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(LogSink, SaysWhatWasDropped) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  std::string text;
  {
    const auto sink = std::make_shared<LogSink>(ends[1]);
    sink->set_pattern("%v");
    spdlog::logger others("tensorcache", sink);
    for (int i = 0; i < 3000; ++i) others.info(std::string(1000, 'x'));
    std::thread reader([&] {
      std::string part(1 << 16, 0);
      for (ssize_t count; (count = ::read(ends[0], part.data(), part.size())) > 0;) text.append(part, 0, static_cast<std::size_t>(count));
    });
    sink->flush();
    others.info("the last");
    sink->flush();
    ::close(ends[1]);
    reader.join();
  }
  EXPECT_NE(text.find(" log lines were dropped: the reader of the log is too slow\n"), std::string::npos);
  EXPECT_TRUE(text.ends_with("\nthe last\n")) << text.substr(text.size() - 300);
  ::close(ends[0]);
}

}   // namespace
}   // namespace tensorcache::commands
