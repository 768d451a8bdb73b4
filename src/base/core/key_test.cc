#include "tensorcache/key.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace tensorcache {
namespace {

Key build(const std::function<void(KeyBuilder&)>& fill, std::string_view domain = "test/1") {
  KeyBuilder builder(domain);
  fill(builder);
  return builder.build();
}

TEST(Key, IsSha256) {
  EXPECT_EQ(Key::of("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Key::of("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Key::of(std::string(1'000'000, 'a')).hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Key, HexGoesThereAndBack) {
  const Key key = Key::of("abc");
  EXPECT_EQ(Key::from_hex(key.hex()), key);
  EXPECT_EQ(Key::from_hex("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"), key);
  EXPECT_FALSE(Key::from_hex(""));
  EXPECT_FALSE(Key::from_hex(key.hex().substr(1)));
  EXPECT_FALSE(Key::from_hex(key.hex() + "0"));
  EXPECT_FALSE(Key::from_hex(std::string(63, '0') + "g"));
  EXPECT_FALSE(Key::from_hex(std::string(64, ' ')));
}

// The format of keys is stored with values: it may not change unnoticed. These digests were made by
// another implementation (Python: tag byte, u64 name length, name, u64 value length, value; little
// endian).
TEST(KeyBuilder, FormatIsFixed) {
  EXPECT_EQ(build([](KeyBuilder&) {}, "answer/1").hex(), "382a7f628dad4c3c528f4da670e0b5566dca8f2b1e70bddaa653638f509d23fb");
  const std::vector<std::int32_t> tokens = {1, -2, 65536};
  const Key all = build(
      [&](KeyBuilder& b) {
        b.field("model", "m").field("n", 7).field("u", std::uint64_t{7}).field("t", 0.5).field("b", true);
        b.field("tokens", std::span<const std::int32_t>(tokens)).field("raw", std::as_bytes(std::span("xy", 2)));
        b.field("key", Key::of("abc"));
      },
      "answer/1");
  EXPECT_EQ(all.hex(), "ddbe75c53e5b0627f8112113b1defc07ac9d6f1b5a67838b2f41ee4f4d06217e");
}

TEST(KeyBuilder, LongFieldsEqualTheSumOfTheirParts) {
  // Around the size of the gathering buffer, where a mistake in it would show.
  std::set<Key> seen;
  for (std::size_t size = 200; size < 320; ++size) {
    const std::string value(size, 'x');
    EXPECT_TRUE(seen.insert(build([&](KeyBuilder& b) { b.field("v", value).field("w", value); })).second);
  }
  EXPECT_EQ(build([](KeyBuilder& b) { b.field("v", std::string(1000, 'x')); }).hex(),
            "9c5ea755566f5e88b529f0011272f4c7d1997198126dd90d3b26a673317067d0");
}

TEST(KeyBuilder, FramingKeepsDifferentFieldsApart) {
  const std::vector<std::function<void(KeyBuilder&)>> inputs = {
      [](KeyBuilder&) {},
      [](KeyBuilder& b) { b.field("", ""); },
      [](KeyBuilder& b) { b.field("", "").field("", ""); },
      [](KeyBuilder& b) { b.field("a", ""); },
      [](KeyBuilder& b) { b.field("", "a"); },
      [](KeyBuilder& b) { b.field("ab", "c"); },
      [](KeyBuilder& b) { b.field("a", "bc"); },
      [](KeyBuilder& b) { b.field("a", "b").field("c", ""); },
      [](KeyBuilder& b) { b.field("a", "b").field("", "c"); },
      [](KeyBuilder& b) { b.field("c", "").field("a", "b"); },
      [](KeyBuilder& b) { b.field("n", 1); },
      [](KeyBuilder& b) { b.field("n", "1"); },
      [](KeyBuilder& b) { b.field("n", std::uint64_t{1}); },
      [](KeyBuilder& b) { b.field("n", 1.0); },
      [](KeyBuilder& b) { b.field("n", true); },
      [](KeyBuilder& b) { b.field("n", false); },
      [](KeyBuilder& b) { b.field("n", 0); },
      [](KeyBuilder& b) { b.field("n", -1); },
      [](KeyBuilder& b) { b.field("n", std::string_view("\1\0\0\0\0\0\0\0", 8)); },
      [](KeyBuilder& b) { b.field("n", std::as_bytes(std::span("\1\0\0\0\0\0\0", 8))); },
      [](KeyBuilder& b) {
        const std::int32_t token = 1;
        b.field("n", std::span<const std::int32_t>(&token, 1));
      },
      [](KeyBuilder& b) {
        const std::int32_t tokens[] = {1, 0};
        b.field("n", std::span<const std::int32_t>(tokens));
      },
      [](KeyBuilder& b) { b.field("n", Key{}); },
      [](KeyBuilder& b) { b.field("n", std::string(32, '\0')); },
      // The bytes of a whole second field hidden in the value of the first.
      [](KeyBuilder& b) { b.field("a", std::string("b") + "s" + std::string("\1\0\0\0\0\0\0\0c", 9) + std::string(8, '\0')); },
  };
  std::set<Key> keys;
  for (std::size_t i = 0; i < inputs.size(); ++i) EXPECT_TRUE(keys.insert(build(inputs[i])).second) << "input " << i;
  EXPECT_TRUE(keys.insert(build(inputs[0], "test/2")).second) << "the domain is part of the key";
  EXPECT_TRUE(keys.insert(build(inputs[0], "")).second);
}

TEST(KeyBuilder, SameFieldsGiveTheSameKey) {
  const auto fill = [](KeyBuilder& b) { b.field("model", std::string("m")).field("t", 0.7); };
  EXPECT_EQ(build(fill), build(fill));
  EXPECT_EQ(build([](KeyBuilder& b) { b.field("x", -0.0); }), build([](KeyBuilder& b) { b.field("x", 0.0); }));
  EXPECT_EQ(build([](KeyBuilder& b) { b.field("x", 5); }), build([](KeyBuilder& b) { b.field("x", std::int64_t{5}); }));
  EXPECT_NE(build([](KeyBuilder& b) { b.field("x", 0.1); }), build([](KeyBuilder& b) { b.field("x", std::nextafter(0.1, 1)); }));
}

TEST(KeyBuilder, CanBeMoved) {
  KeyBuilder first("test/1");
  first.field("a", "b");
  KeyBuilder second = std::move(first);
  EXPECT_EQ(second.build(), build([](KeyBuilder& b) { b.field("a", "b"); }));
}

}   // namespace
}   // namespace tensorcache
