#include "base/net/url.h"

#include <gtest/gtest.h>

namespace tensorcache::net {
namespace {

TEST(Url, PartsAndDefaults) {
  const auto plain = parse_url("http://127.0.0.1:8080");
  ASSERT_TRUE(plain);
  EXPECT_FALSE(plain->tls);
  EXPECT_EQ(plain->authority(), "127.0.0.1:8080");
  EXPECT_EQ(plain->path, "");
  const auto tls = parse_url("https://example.org/api/v1/");
  ASSERT_TRUE(tls);
  EXPECT_TRUE(tls->tls);
  EXPECT_EQ(tls->port, "443");
  EXPECT_EQ(tls->path, "/api");
  const auto ipv6 = parse_url("http://[::1]:9000/v1");
  ASSERT_TRUE(ipv6);
  EXPECT_EQ(ipv6->host, "::1");
  EXPECT_EQ(ipv6->authority(), "[::1]:9000");
}

TEST(Url, WhatIsNoneIsRefused) {
  for (const char* wrong :
       {"", "127.0.0.1:8080", "ftp://x", "http://", "http://:80", "http://x:port", "http://x:65536", "http://[::1", "http://x y", "http://u@x"}) {
    EXPECT_FALSE(parse_url(wrong)) << wrong;
  }
}

}   // namespace
}   // namespace tensorcache::net
