#include "serving/answer/answer.h"

#include <gtest/gtest.h>

#include <random>

namespace tensorcache::answer {
namespace {

Answer sample() {
  Answer answer;
  answer.deltas = {
      {"Hé", {{{5, "H\xc3", -0.5f}, {{5, "H\xc3", -0.5f}, {6, "x", -2.0f}}}, {{7, "\xa9", -1.0f}, {}}}}, {"", {}}, {"llo", {}}, {"", {}, "so"}};
  answer.deltas.push_back({"x", {}, "", {{0, "call_1", "f", "{"}, {1, "call_2", "g", ""}}});
  answer.reason = engine::FinishReason::kLength;
  answer.usage = {11, 3, 8};
  answer.created_unix_s = 1'700'000'001;
  return answer;
}

TEST(Answer, ComesBackAsItWas) { EXPECT_EQ(decode_answer(encode_answer(sample())), sample()); }

TEST(Answer, EmptyComesBack) { EXPECT_EQ(decode_answer(encode_answer({})), Answer{}); }

// The format is what stored answers are in: a change here needs a new version in the magic.
TEST(Answer, BytesAreTheDocumentedFormat) {
  Answer answer;
  answer.deltas = {{"ab", {{{258, "c", -1.0f}, {}}}, "r", {{7, "i", "n", "{}"}}}};
  answer.reason = engine::FinishReason::kLength;
  answer.stop_sequence = "s";
  answer.usage = {1, 2, 3};
  answer.created_unix_s = 0x0102030405060708;
  using namespace std::string_literals;
  EXPECT_EQ(encode_answer(answer),
            "TCA2"
            "\x01"
            "\x01\0\0\0s"
            "\x08\x07\x06\x05\x04\x03\x02\x01"
            "\x01\0\0\0\x02\0\0\0\x03\0\0\0"
            "\x01\0\0\0"
            "\x02\0\0\0"
            "ab"
            "\x01\0\0\0"
            "\x02\x01\0\0"
            "\0\0\x80\xbf"
            "\x01\0\0\0"
            "c"
            "\0\0\0\0"
            "\x01\0\0\0r"
            "\x01\0\0\0"
            "\x07\0\0\0"
            "\x01\0\0\0i"
            "\x01\0\0\0n"
            "\x02\0\0\0{}"s);
}

TEST(Answer, EveryCutAndAnyTailIsRefused) {
  const std::string bytes = encode_answer(sample());
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_answer(std::string_view(bytes).substr(0, size))) << size;
  EXPECT_FALSE(decode_answer(bytes + '\0'));
}

TEST(Answer, OtherMagicAndUnknownReasonAreRefused) {
  std::string bytes = encode_answer(sample());
  bytes[3] = '1';
  EXPECT_FALSE(decode_answer(bytes));
  bytes = encode_answer(sample());
  bytes[4] = 3;
  EXPECT_FALSE(decode_answer(bytes));
}

TEST(Answer, HugeCountsAreRefusedWithoutAllocating) {
  std::string bytes = encode_answer({});
  for (std::size_t i = bytes.size() - 4; i < bytes.size(); ++i) bytes[i] = '\xff';
  EXPECT_FALSE(decode_answer(bytes));
}

TEST(Answer, DamageNeverCrashes) {
  const std::string good = encode_answer(sample());
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (const auto answer = decode_answer(bytes)) {
      EXPECT_EQ(encode_answer(*answer), bytes) << "one value, one encoding";
    }
  }
}

}   // namespace
}   // namespace tensorcache::answer
