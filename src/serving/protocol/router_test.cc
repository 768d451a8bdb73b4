#include "serving/protocol/router.h"

#include <gtest/gtest.h>

namespace tensorcache::protocol {
namespace {

TEST(Router, Paths) {
  EXPECT_EQ(match_route("POST", "/v1/chat/completions").route, Route::kChat);
  EXPECT_EQ(match_route("POST", "/v1/chat/completions/").route, Route::kChat);
  EXPECT_EQ(match_route("POST", "/completions?a=b").route, Route::kNative);
  EXPECT_EQ(match_route("GET", "http://localhost:1/v1/models").route, Route::kModels);
  EXPECT_EQ(match_route("GET", "/v1/models/a%2Fb").argument, "a/b");
  EXPECT_EQ(match_route("GET", "/v1/models/a/b").argument, "a/b");
  for (const char* path : {"/", "", "*", "/v1", "/v1/chat", "/v1/chat/completionsx", "//health", "/V1/models", "/cache/x"})
    EXPECT_EQ(match_route("GET", path).route, Route::kNone) << path;
}

TEST(Router, Methods) {
  EXPECT_TRUE(match_route("HEAD", "/health").method_allowed);
  EXPECT_TRUE(match_route("DELETE", "/cache").method_allowed);
  for (const char* method : {"", "get", "GE", "GET,", "OPTIONS", "POST"}) EXPECT_FALSE(match_route(method, "/health").method_allowed) << method;
}

TEST(Router, Query) {
  EXPECT_EQ(query_value("a=1&limit=5&limit=6", "limit"), "5");
  EXPECT_EQ(query_value("limit", "limit"), "");
  EXPECT_EQ(query_value("xlimit=5", "limit"), std::nullopt);
  EXPECT_EQ(query_value("", "limit"), std::nullopt);
}

}   // namespace
}   // namespace tensorcache::protocol
