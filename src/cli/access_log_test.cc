#include "cli/access_log.h"

#include <gtest/gtest.h>

namespace tensorcache {
namespace {

RequestRecord completion() {
  RequestRecord record;
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
  RequestRecord other;
  other.method = "GET";
  other.target = "/a\x1b[2J\n\xffPOST";
  other.status = 404;
  other.id = "req_2";
  EXPECT_EQ(access_text(other), "GET /a?[2J??POST 404 total=0.000s id=req_2");
}

TEST(AccessLog, AJsonObject) {
  EXPECT_EQ(
      access_json(completion()),
      R"({"message":"request","id":"req_1","tenant":"acme","method":"POST","target":"/v1/chat/completions","route":"chat","status":200,)"
      R"("total_seconds":3.104E-1,"prompt_tokens":916,"cached_tokens":896,"output_tokens":24,"first_token_seconds":2.9E-1,"answer":"computed"})");
}

}   // namespace
}   // namespace tensorcache
