#include "serving/protocol/origin_check.h"

#include <gtest/gtest.h>

namespace tensorcache::protocol {
namespace {

TEST(Guard, NamesOfThisMachine) {
  for (const char* name : {"localhost", "LocalHost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"})
    EXPECT_TRUE(is_loopback_name(name)) << name;
  for (const char* name :
       {"", "example.com", "localhost.example.com", "notlocalhost", "127.0.0.1.example.com", "0.0.0.0", "192.168.0.1", "[::2]", "::"})
    EXPECT_FALSE(is_loopback_name(name)) << name;
}

TEST(Guard, OriginsThatBrowsersMayShowTheRepliesTo) {
  const std::vector<std::string> one = {"https://app.example"}, all = {"*"};
  EXPECT_TRUE(allows_origin("http://localhost:3000", {}));
  for (const char* origin : {"", "null", "https://app.example", "http://", "localhost", "https://localhost.evil.example"}) {
    EXPECT_FALSE(allows_origin(origin, {})) << origin;
  }
  EXPECT_TRUE(allows_origin("https://app.example", one));
  EXPECT_FALSE(allows_origin("https://app.example.evil", one));
  EXPECT_TRUE(allows_origin("https://any.example", all));
  EXPECT_FALSE(check_local("localhost", "https://app.example", one));
  EXPECT_TRUE(check_local("evil.example", "https://app.example", one)) << "the server's own name is another question";
}

TEST(Guard, HostAndOrigin) {
  EXPECT_FALSE(check_local("localhost:8080", ""));
  EXPECT_FALSE(check_local("[::1]:8080", "http://127.0.0.1:3000"));
  EXPECT_FALSE(check_local("", "")) << "HTTP/1.0 has no Host";
  EXPECT_TRUE(check_local("evil.example", ""));
  EXPECT_TRUE(check_local("localhost@evil.example", ""));
  EXPECT_TRUE(check_local("localhost", "https://evil.example"));
  EXPECT_TRUE(check_local("localhost", "null"));
  EXPECT_TRUE(check_local("localhost", "http://localhost.evil.example"));
  EXPECT_NE(check_local("evil.example", "")->message.find("API key"), std::string::npos) << "says what to do";
}

}   // namespace
}   // namespace tensorcache::protocol
