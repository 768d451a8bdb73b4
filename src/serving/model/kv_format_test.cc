#include "serving/model/kv_format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace tensorcache::model {
namespace {

// Writes states as llama.cpp lays them out, each value a function of (payload, tensor, row,
// position), so that a mix-up shows.
struct FakeState {
  std::uint32_t n_stream = 3, stream = 1;
  std::size_t ext_bytes = 0;
  bool v_trans = false;
  int payloads = 1;
  std::int32_t first = 0, count = 12;
  std::int32_t window = 0;   // the second payload holds only the last so many

  std::vector<std::byte> bytes;
  template <typename T>
  void put(T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), raw, raw + sizeof value);
  }
  void fill(int payload, int tensor, int row, std::int32_t position, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i)
      bytes.push_back(static_cast<std::byte>(payload * 101 + tensor * 31 + row * 17 + position * 7 + static_cast<int>(i)));
  }
  const std::vector<std::byte>& build() {
    bytes.clear();
    put<std::uint32_t>(0xaf143cd8);
    put<std::int32_t>(static_cast<std::int32_t>(stream));
    for (int p = 0; p < payloads; ++p) {
      const std::int32_t begin = p == 1 && window > 0 ? std::max(first, first + count - window) : first;
      put<std::uint32_t>(n_stream);
      for (std::uint32_t s = 0; s < n_stream; ++s) {
        const auto cells = s == stream ? static_cast<std::uint32_t>(first + count - begin) : 0u;
        put<std::uint32_t>(cells);
        if (cells > 0) payload(p, begin);
      }
    }
    return bytes;
  }
  void payload(int p, std::int32_t begin) {
    for (std::int32_t pos = begin; pos < first + count; ++pos) {
      put<std::int32_t>(pos);
      put<std::uint32_t>(1);
      fill(p, 99, 0, pos, ext_bytes);
      put<std::int32_t>(static_cast<std::int32_t>(stream));
    }
    put<std::uint32_t>(v_trans ? 1 : 0);
    put<std::uint32_t>(2);
    for (int layer = 0; layer < 2; ++layer) {
      put<std::int32_t>(1);
      put<std::uint64_t>(6);
      for (std::int32_t pos = begin; pos < first + count; ++pos) fill(p, layer, 0, pos, 6);
    }
    for (int layer = 0; layer < 2; ++layer) {
      put<std::int32_t>(1);
      if (v_trans) {
        put<std::uint32_t>(2);
        put<std::uint32_t>(3);
        for (int row = 0; row < 3; ++row) {
          for (std::int32_t pos = begin; pos < first + count; ++pos) fill(p, 2 + layer, row, pos, 2);
        }
      } else {
        put<std::uint64_t>(4);
        for (std::int32_t pos = begin; pos < first + count; ++pos) fill(p, 2 + layer, 0, pos, 4);
      }
    }
  }
};

class KvFormatTest : public ::testing::TestWithParam<std::tuple<std::size_t, bool, int>> {
 protected:
  FakeState state() const {
    FakeState fake;
    std::tie(fake.ext_bytes, fake.v_trans, fake.payloads) = GetParam();
    return fake;
  }
};

TEST_P(KvFormatTest, CutThenJoinIsTheSameState) {
  FakeState fake = state();
  const auto format = KvFormat::learn(fake.build());
  ASSERT_TRUE(format);
  const auto views = format->view(fake.bytes);
  ASSERT_TRUE(views);
  std::vector<std::vector<std::byte>> blocks(3, std::vector<std::byte>(format->block_bytes(4)));
  for (std::size_t i = 0; i < 3; ++i) ASSERT_TRUE(format->cut(fake.bytes, *views, static_cast<std::int32_t>(4 * i), 4, blocks[i]));

  std::vector<std::byte> joined(format->state_bytes(12));
  const std::vector<std::span<const std::byte>> parts(blocks.begin(), blocks.end());
  ASSERT_TRUE(format->join(parts, 4, 12, 0, joined));
  fake.stream = 0;   // where join puts them
  EXPECT_EQ(joined, fake.build());
}

TEST_P(KvFormatTest, TheLastBlockMayBeShorter) {
  FakeState fake = state();
  fake.count = 11;
  const auto format = KvFormat::learn(fake.build());
  ASSERT_TRUE(format);
  const auto views = format->view(fake.bytes);
  ASSERT_TRUE(views);
  std::vector<std::vector<std::byte>> blocks;
  for (const std::size_t tokens : {4, 4, 3}) {
    const auto first = static_cast<std::int32_t>(4 * blocks.size());
    blocks.emplace_back(format->block_bytes(tokens));
    ASSERT_TRUE(format->cut(fake.bytes, *views, first, tokens, blocks.back()));
  }
  std::vector<std::byte> joined(format->state_bytes(11));
  const std::vector<std::span<const std::byte>> parts(blocks.begin(), blocks.end());
  ASSERT_TRUE(format->join(parts, 4, 11, 0, joined));
  fake.stream = 0;
  EXPECT_EQ(joined, fake.build());
  joined.resize(format->state_bytes(12));
  EXPECT_FALSE(format->join(parts, 4, 12, 0, joined)) << "the last block is of another size";
}

TEST_P(KvFormatTest, CutsFromAStateWhosePrefixIsGone) {
  FakeState fake = state();
  const auto format = KvFormat::learn(fake.build());
  const auto whole = format->view(fake.bytes);
  std::vector<std::byte> expected(format->block_bytes(4)), block(format->block_bytes(4));
  ASSERT_TRUE(format->cut(fake.bytes, *whole, 8, 4, expected));
  fake.first = 8;
  fake.count = 4;
  const auto tail = format->view(fake.build());
  ASSERT_TRUE(tail);
  ASSERT_TRUE(format->cut(fake.bytes, *tail, 8, 4, block));
  EXPECT_EQ(block, expected);
  EXPECT_FALSE(format->cut(fake.bytes, *tail, 4, 4, block));
  EXPECT_FALSE(format->cut(fake.bytes, *tail, 10, 4, block));
}

TEST_P(KvFormatTest, DamagedStatesAreRefusedOrReadWithinBounds) {
  FakeState fake = state();
  const auto format = KvFormat::learn(fake.build());
  const std::vector<std::byte> good = fake.bytes;
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    EXPECT_FALSE(format->view(std::span(good).first(cut))) << cut;
  }
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> bad = good;
    for (int flips = 0; flips < 3; ++flips) bad[random() % bad.size()] ^= static_cast<std::byte>(1u << (random() % 8));
    std::vector<std::byte> block(format->block_bytes(4));
    if (const auto views = format->view(bad)) (void)format->cut(bad, *views, 4, 4, block);
    (void)KvFormat::learn(bad);   // the sanitizers watch
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, KvFormatTest, ::testing::Combine(::testing::Values(0, 12), ::testing::Bool(), ::testing::Values(1, 2)));

TEST(KvFormat, AWindowThatLostABlockCannotBeCut) {
  FakeState fake{.payloads = 2, .window = 6, .bytes = {}};
  const auto format = KvFormat::learn(fake.build());
  ASSERT_TRUE(format);
  const auto views = format->view(fake.bytes);
  std::vector<std::byte> block(format->block_bytes(4));
  EXPECT_FALSE(format->cut(fake.bytes, *views, 4, 4, block));
  EXPECT_TRUE(format->cut(fake.bytes, *views, 8, 4, block));
}

TEST(KvFormat, ADifferentModelsStateIsRefused) {
  FakeState one, other{.v_trans = true, .bytes = {}};
  const auto format = KvFormat::learn(one.build());
  EXPECT_FALSE(format->view(other.build()));
  EXPECT_FALSE(KvFormat::learn({}));
}

TEST(KvFormat, JoinRefusesABlockOfAnotherSize) {
  FakeState fake;
  const auto format = KvFormat::learn(fake.build());
  const std::vector<std::byte> block(format->block_bytes(4)), shorter(format->block_bytes(4) - 1);
  const std::vector<std::span<const std::byte>> parts{block, shorter};
  std::vector<std::byte> state(format->state_bytes(8));
  EXPECT_FALSE(format->join(parts, 4, 8, 0, state));
}

}   // namespace
}   // namespace tensorcache::model
