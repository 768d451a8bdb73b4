// The client's TLS, against a server with a certificate that is made for the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "base/net/http_client.h"
#include "testing/net/raw_server.h"

namespace tensorcache::net {
namespace {

using tensorcache::testing::RawPeer;
using tensorcache::testing::RawServer;
using tensorcache::testing::TestCertificate;
using ::testing::HasSubstr;

void answer(RawPeer& peer, int) {
  while (!peer.read_request().empty()) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

struct HttpTls : ::testing::Test {
  // Writes the certificate where `options.ca_file` finds it.
  void trust(const TestCertificate& certificate) {
    options.ca_file = ::testing::TempDir() + "http_tls_test.pem";
    std::ofstream(options.ca_file) << certificate.pem();
  }
  void TearDown() override {
    ::unsetenv("SSL_CERT_FILE");
    std::remove((::testing::TempDir() + "http_tls_test.pem").c_str());
  }
  Result<Response, Error> get(const std::string& url) { return send_blocking(*parse_url(url), options, {}); }
  ClientOptions options;
};

TEST_F(HttpTls, ReadsFromAServerThatItTrusts) {
  const TestCertificate named("localhost"), numbered("IP:127.0.0.1");
  const RawServer by_name(answer, &named), by_address(answer, &numbered);
  trust(named);
  const auto first = get(by_name.url("localhost"));
  ASSERT_TRUE(first) << first.error().text;
  EXPECT_EQ(first->body, "hello");
  trust(numbered);
  const auto second = get(by_address.url());
  EXPECT_TRUE(second) << second.error().text;
}

TEST_F(HttpTls, TrustsTheFileThatTheEnvironmentNames) {
  const TestCertificate certificate("localhost");
  const RawServer server(answer, &certificate);
  trust(certificate);
  ::setenv("SSL_CERT_FILE", options.ca_file.c_str(), 1);
  options.ca_file.clear();
  const auto reply = get(server.url("localhost"));
  EXPECT_TRUE(reply) << reply.error().text;
}

TEST_F(HttpTls, RefusesAnotherHostsCertificate) {
  const TestCertificate certificate("example.org");
  const RawServer server(answer, &certificate);
  trust(certificate);
  for (const char* host : {"localhost", "127.0.0.1"}) {
    const auto reply = get(server.url(host));
    ASSERT_FALSE(reply) << host;
    EXPECT_EQ(reply.error().kind, ErrorKind::kTls);
    EXPECT_THAT(reply.error().text, HasSubstr("mismatch"));
  }
}

TEST_F(HttpTls, RefusesACertificateThatNobodyVouchesFor) {
  const TestCertificate certificate("localhost");
  const RawServer server(answer, &certificate);
  const auto reply = get(server.url("localhost"));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, ErrorKind::kTls);
  EXPECT_THAT(reply.error().text, HasSubstr("self-signed certificate"));
}

TEST_F(HttpTls, SaysThatTheServerSpeaksNoTls) {
  const RawServer server([](RawPeer& peer, int) { peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"); });
  std::string url = server.url();
  const auto reply = get("https" + url.substr(4));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, ErrorKind::kTls);
}

// Without a length only TLS's own end tells a whole body from one that was cut off.
TEST_F(HttpTls, TakesNoCutOffBodyForAWholeOne) {
  const TestCertificate certificate("localhost");
  const RawServer server(
      [](RawPeer& peer, int) {
        peer.read_request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        peer.cut();
      },
      &certificate);
  trust(certificate);
  const auto reply = get(server.url("localhost"));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind, ErrorKind::kClosed);
}

TEST_F(HttpTls, NamesAFileOfCertificatesThatIsMissing) {
  options.ca_file = ::testing::TempDir() + "http_tls_test.missing";
  EXPECT_THROW((void)get("https://localhost:9"), std::runtime_error);
}

}   // namespace
}   // namespace tensorcache::net
