#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "serving/server/routes.h"

namespace tensorcache::server {
namespace {

constexpr const char* kPaths[] = {"/v1/chat/completions",
                                  "/v1/completions",
                                  "/v1/messages",
                                  "/v1/messages/count_tokens",
                                  "/v1/chat/completions/input_tokens",
                                  "/v1/responses",
                                  "/completion",
                                  "/tokenize",
                                  "/detokenize",
                                  "/apply-template",
                                  "/props",
                                  "/slots",
                                  "/v1/models",
                                  "/v1/models/x",
                                  "/health",
                                  "/metrics",
                                  "/cache",
                                  "/cache/config"};

TEST(RouteTable, WhateverTheRouterAllowsHasItsHandlerAndNothingElseHas) {
  std::size_t allowed = 0;
  for (const char* path : kPaths) {
    for (const char* method : {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}) {
      const protocol::RouteMatch match = protocol::match_route(method, path);
      ASSERT_NE(match.route, protocol::Route::kNone) << path;
      EXPECT_EQ(find_handler(match.route, method) != nullptr, match.method_allowed) << method << " " << path;
      allowed += match.method_allowed && std::string_view(method) != "HEAD" ? 1 : 0;
    }
  }
  EXPECT_EQ(handlers().size(), allowed) << "a row that no request reaches";
  EXPECT_EQ(std::size(kPaths) + 1, protocol::kRouteCount) << "with kNone";
}

TEST(RouteTable, NoTwoRowsAnswerTheSame) {
  std::set<std::pair<protocol::Route, std::string_view>> rows;
  for (const Handler& each : handlers()) EXPECT_TRUE(rows.emplace(each.route, each.method).second) << each.method;
}

TEST(RouteTable, OnlyHealthIsOpenToEverybody) {
  for (const Handler& each : handlers()) EXPECT_EQ(each.open, each.route == protocol::Route::kHealth) << each.method;
}

}   // namespace
}   // namespace tensorcache::server
