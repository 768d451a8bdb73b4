#include "base/core/text_table.h"

#include <gtest/gtest.h>

namespace tensorcache {
namespace {

TEST(TextTable, SetsNamesLeftAndNumbersRight) {
  EXPECT_EQ(text_table({{"", "hits", "ratio"}, {"lru", "1", "0.5"}, {"adaptive", "12345"}}),
            "           hits  ratio\n"
            "lru           1    0.5\n"
            "adaptive  12345\n");
}

TEST(TextTable, SetsAsManyColumnsLeftAsItIsTold) {
  EXPECT_EQ(text_table({{"model", "kind", "bytes"}, {"a", "answer", "1"}, {"long-name", "", ""}}, 2),
            "model      kind    bytes\n"
            "a          answer      1\n"
            "long-name\n");
  EXPECT_EQ(text_table({}), "");
}

}   // namespace
}   // namespace tensorcache
