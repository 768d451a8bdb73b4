#include "base/json/json_document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tensorcache::json {
namespace {

using ::testing::HasSubstr;

TEST(ParseJson, ReadsOneDocument) {
  const auto document = parse_json(R"({"a":[1,2.5,"x"],"b":{"a":null}})", {});
  ASSERT_TRUE(document);
  EXPECT_EQ(document->at("a").as_array().size(), 3u);
}

TEST(ParseJson, SaysWhatIsWrongAndWhere) {
  const auto error = [](std::string_view text) {
    const auto document = parse_json(text, {});
    return document ? std::string("none") : document.error();
  };
  EXPECT_THAT(error(R"({"a":1,})"), HasSubstr("at byte 7"));
  EXPECT_THAT(error("{} {}"), HasSubstr("extra data at byte 3"));
  EXPECT_THAT(error(""), HasSubstr("incomplete"));
  EXPECT_THAT(error("\"\xFF\""), HasSubstr("at byte"));
  EXPECT_THAT(error(std::string(40, '[')), HasSubstr("too deep at byte 32"));
  EXPECT_EQ(error(R"({"a":{"b":1,"c":2,"b":3}})"), "the key 'b' is given twice in one object");
}

}   // namespace
}   // namespace tensorcache::json
