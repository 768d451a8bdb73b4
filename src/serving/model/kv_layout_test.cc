#include "serving/model/kv_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace tensorcache::model {
namespace {

constexpr std::size_t kCells = 24, kLayers = 2, kKeyBytes = 6, kValueBytes = 4, kElementBytes = 2, kValueRows = 3;

struct Shape {
  std::size_t ext_bytes = 0;
  bool transposed = false;
  int payloads = 1;
  std::size_t window = 0;   // the second payload holds only the last so many tokens; 0: all
};

// A sequence's K/V memory as llama.cpp keeps it. Each byte is a function of (payload, tensor, row,
// token), so that a mix-up shows.
class FakeContext {
 public:
  // `cells[i]`: the cell of token `first + i`, in every payload.
  FakeContext(Shape shape, std::size_t first, std::vector<std::size_t> cells) : shape_(shape), first_(first), cells_(std::move(cells)) {
    tensors_.resize(static_cast<std::size_t>(shape.payloads));
    for (auto& payload : tensors_) {
      for (std::size_t t = 0; t < 2 * kLayers; ++t)
        payload.emplace_back(kCells * (t < kLayers ? kKeyBytes : kValueRows * kElementBytes), std::byte{0});
    }
  }
  void compute() {
    for (std::size_t p = 0; p < tensors_.size(); ++p) {
      for (std::size_t t = 0; t < 2 * kLayers; ++t) {
        for (std::size_t row = 0; row < rows(t); ++row) {
          for (std::size_t i = 0; i < cells_.size(); ++i) {
            std::byte* const at = tensors_[p][t].data() + row * kCells * cell_bytes(t) + cells_[i] * cell_bytes(t);
            for (std::size_t b = 0; b < cell_bytes(t); ++b) at[b] = value(p, t, row, first_ + i, b);
          }
        }
      }
    }
  }
  // What llama.cpp writes: cells in their order in memory.
  [[nodiscard]] std::vector<KvEvent> written() {
    std::vector<KvEvent> events;
    for (std::size_t p = 0; p < tensors_.size(); ++p) {
      std::vector<std::size_t> tokens(cells_.size() - begin(p));
      std::iota(tokens.begin(), tokens.end(), begin(p));
      std::sort(tokens.begin(), tokens.end(), [&](std::size_t a, std::size_t b) { return cells_[a] < cells_[b]; });
      emit(events, std::uint32_t{3});
      emit(events, std::uint32_t{0});
      emit(events, static_cast<std::uint32_t>(tokens.size()));
      for (const std::size_t i : tokens) {
        emit(events, static_cast<std::int32_t>(first_ + i));
        emit(events, std::uint32_t{1});
        if (shape_.ext_bytes > 0) events.push_back(KvEvent::of_value(ext(p, first_ + i)));
        emit(events, std::int32_t{1});
      }
      emit_tensors(events, p, tokens);
      emit(events, std::uint32_t{0});
    }
    return events;
  }
  // What llama.cpp does when it reads `values`: asks for each, and says where it wants the rows.
  [[nodiscard]] std::vector<KvEvent> read(const std::vector<KvEvent>& values) {
    std::vector<KvEvent> events;
    std::size_t next = 0;
    const auto take = [&](std::size_t count) {
      events.insert(events.end(), values.begin() + static_cast<std::ptrdiff_t>(next), values.begin() + static_cast<std::ptrdiff_t>(next + count)),
          next += count;
    };
    std::vector<std::size_t> tokens(cells_.size());
    std::iota(tokens.begin(), tokens.end(), std::size_t{0});
    for (std::size_t p = 0; p < tensors_.size(); ++p) {
      take(2 + cells_.size() * (shape_.ext_bytes > 0 ? 4 : 3) + 2);
      for (std::size_t t = 0; t < 2 * kLayers; ++t) {
        take(transposed(t) ? 3 : 2);
        emit_rows(events, p, t, tokens);
      }
      take(2);
    }
    EXPECT_EQ(next, values.size());
    return events;
  }
  [[nodiscard]] std::vector<std::byte> ext(std::size_t payload, std::size_t token) const {
    std::vector<std::byte> bytes(shape_.ext_bytes);
    for (std::size_t b = 0; b < bytes.size(); ++b) bytes[b] = value(payload, 99, 0, token, b);
    return bytes;
  }
  friend bool operator==(const FakeContext& a, const FakeContext& b) { return a.tensors_ == b.tensors_; }

  static void copy_out(const KvPlaces& places, std::size_t first, std::size_t count, std::vector<std::byte>& block) {
    places.write_ext(first, count, block);
    places.for_each_piece(first, count, count, [&](const KvPlaces::Piece& piece) {
      std::copy_n(static_cast<const std::vector<std::byte>*>(piece.tensor)->begin() + static_cast<std::ptrdiff_t>(piece.tensor_offset), piece.bytes,
                  block.begin() + static_cast<std::ptrdiff_t>(piece.block_offset));
    });
  }
  static void copy_in(const KvPlaces& places, std::size_t first, std::size_t count, const std::vector<std::byte>& block, std::size_t block_tokens) {
    places.for_each_piece(first, count, block_tokens, [&](const KvPlaces::Piece& piece) {
      std::copy_n(block.begin() + static_cast<std::ptrdiff_t>(piece.block_offset), piece.bytes,
                  static_cast<std::vector<std::byte>*>(piece.tensor)->begin() + static_cast<std::ptrdiff_t>(piece.tensor_offset));
    });
  }

 private:
  template <typename T>
  static void emit(std::vector<KvEvent>& events, T number) {
    events.push_back(KvEvent::of_value(std::as_bytes(std::span(&number, 1))));
  }
  [[nodiscard]] bool transposed(std::size_t tensor) const { return tensor >= kLayers && shape_.transposed; }
  [[nodiscard]] std::size_t rows(std::size_t tensor) const { return transposed(tensor) ? kValueRows : 1; }
  [[nodiscard]] std::size_t cell_bytes(std::size_t tensor) const {
    return tensor < kLayers ? kKeyBytes : shape_.transposed ? kElementBytes : kValueBytes;
  }
  [[nodiscard]] std::size_t begin(std::size_t payload) const {
    return payload == 1 && shape_.window > 0 ? cells_.size() - std::min(cells_.size(), shape_.window) : 0;
  }
  static std::byte value(std::size_t payload, std::size_t tensor, std::size_t row, std::size_t token, std::size_t byte) {
    return static_cast<std::byte>(payload * 101 + tensor * 31 + row * 17 + token * 7 + byte + 1);
  }
  void emit_tensors(std::vector<KvEvent>& events, std::size_t payload, const std::vector<std::size_t>& tokens) {
    emit(events, static_cast<std::uint32_t>(shape_.transposed));
    emit(events, static_cast<std::uint32_t>(kLayers));
    for (std::size_t t = 0; t < 2 * kLayers; ++t) {
      emit(events, std::int32_t{1});
      if (transposed(t)) {
        emit(events, static_cast<std::uint32_t>(kElementBytes));
        emit(events, static_cast<std::uint32_t>(kValueRows));
      } else {
        emit(events, static_cast<std::uint64_t>(cell_bytes(t)));
      }
      emit_rows(events, payload, t, tokens);
    }
  }
  // Runs of neighbouring cells at once.
  void emit_rows(std::vector<KvEvent>& events, std::size_t payload, std::size_t tensor, const std::vector<std::size_t>& tokens) {
    for (std::size_t row = 0; row < rows(tensor); ++row) {
      for (std::size_t i = 0; i < tokens.size();) {
        std::size_t end = i + 1;
        while (end < tokens.size() && cells_[tokens[end]] == cells_[tokens[end - 1]] + 1) ++end;
        events.push_back({.tensor = &tensors_[payload][tensor],
                          .offset = (row * kCells + cells_[tokens[i]]) * cell_bytes(tensor),
                          .bytes = (end - i) * cell_bytes(tensor)});
        i = end;
      }
    }
  }

  Shape shape_;
  std::size_t first_;
  std::vector<std::size_t> cells_;
  std::vector<std::vector<std::vector<std::byte>>> tensors_;   // by payload
};

std::vector<std::size_t> in_a_row(std::size_t first_cell, std::size_t count) {
  std::vector<std::size_t> cells(count);
  std::iota(cells.begin(), cells.end(), first_cell);
  return cells;
}

class KvLayoutTest : public ::testing::TestWithParam<std::tuple<std::size_t, bool, int>> {
 protected:
  static Shape shape() { return {std::get<0>(GetParam()), std::get<1>(GetParam()), std::get<2>(GetParam()), 0}; }
  // Blocks of four tokens, the last with what is left.
  static std::vector<std::vector<std::byte>> cut(const KvPlaces& places, std::size_t tokens) {
    std::vector<std::vector<std::byte>> blocks;
    for (std::size_t first = 0; first < tokens; first += 4) {
      const std::size_t count = std::min<std::size_t>(4, tokens - first);
      EXPECT_TRUE(places.holds(first, count));
      FakeContext::copy_out(places, first, count, blocks.emplace_back(places.layout().block_bytes(count)));
    }
    return blocks;
  }
  // Puts the leading `tokens` of blocks that hold `stored` back into a context that has these
  // cells.
  static std::optional<KvPlaces> put_back(FakeContext& into, const KvLayout& layout, const std::vector<std::vector<std::byte>>& blocks,
                                          std::size_t tokens, std::size_t stored) {
    const std::vector<std::span<const std::byte>> parts(blocks.begin(), blocks.end());
    const std::size_t last_tokens = stored - (parts.size() - 1) * 4;
    const auto places = parse_kv_events(into.read(kv_values(layout, tokens, parts, 4, last_tokens)));
    EXPECT_TRUE(places && places->layout() == layout && places->holds(0, tokens));
    for (std::size_t i = 0; places && i < parts.size(); ++i) {
      FakeContext::copy_in(*places, 4 * i, std::min<std::size_t>(4, tokens - 4 * i), blocks[i], i + 1 == parts.size() ? last_tokens : 4);
    }
    return places;
  }
};

TEST_P(KvLayoutTest, ASequenceComesBackIntoOtherCellsAsItWas) {
  FakeContext computed(shape(), 0, in_a_row(2, 11));
  computed.compute();
  const auto places = parse_kv_events(computed.written());
  ASSERT_TRUE(places);
  const auto blocks = cut(*places, 11);
  std::vector<std::size_t> scattered = in_a_row(0, 5);
  for (const std::size_t cell : {9, 10, 7, 20, 21, 22}) scattered.push_back(cell);
  FakeContext restored(shape(), 0, scattered), expected(shape(), 0, scattered);
  const auto again = put_back(restored, places->layout(), blocks, 11, 11);
  expected.compute();
  EXPECT_EQ(restored, expected);
  ASSERT_TRUE(again);
  EXPECT_EQ(cut(*again, 11), blocks);   // with the ext data that was given to it
}

TEST_P(KvLayoutTest, OfTheLastBlockFewerTokensMayBeRestored) {
  FakeContext computed(shape(), 0, in_a_row(0, 12));
  computed.compute();
  const auto places = parse_kv_events(computed.written());
  ASSERT_TRUE(places);
  FakeContext restored(shape(), 0, in_a_row(5, 9)), expected(shape(), 0, in_a_row(5, 9));
  static_cast<void>(put_back(restored, places->layout(), cut(*places, 12), 9, 12));
  expected.compute();
  EXPECT_EQ(restored, expected);
}

TEST_P(KvLayoutTest, CellsInAnyOrderAreReadInTheOrderOfTokens) {
  FakeContext straight(shape(), 0, in_a_row(0, 12)), mixed(shape(), 0, {8, 9, 10, 11, 12, 0, 1, 2, 20, 4, 6, 5});
  straight.compute();
  mixed.compute();
  const auto one = parse_kv_events(straight.written()), other = parse_kv_events(mixed.written());
  ASSERT_TRUE(one && other);
  EXPECT_EQ(cut(*one, 12), cut(*other, 12));
}

TEST_P(KvLayoutTest, WhatIsNotThereIsNotHeld) {
  FakeContext tail(shape(), 8, in_a_row(3, 4));
  const auto places = parse_kv_events(tail.written());
  ASSERT_TRUE(places);
  EXPECT_TRUE(places->holds(8, 4));
  EXPECT_TRUE(places->holds(9, 2));
  EXPECT_FALSE(places->holds(7, 2));
  EXPECT_FALSE(places->holds(0, 1));
  EXPECT_FALSE(places->holds(11, 2));
  EXPECT_FALSE(places->holds(12, 1));
}

// Whatever llama.cpp writes: it is refused, or pieces stay within the block.
TEST_P(KvLayoutTest, DamagedEventsAreRefusedOrReadWithinBounds) {
  FakeContext computed(shape(), 0, in_a_row(0, 12));
  const std::vector<KvEvent> good = computed.written();
  for (std::size_t end = 0; end + 1 < good.size(); ++end) {
    const auto places = parse_kv_events(std::span(good).first(end));
    EXPECT_FALSE(places && shape().payloads == 1) << end;
  }
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<KvEvent> bad = good;
    for (int flips = 0; flips < 3; ++flips) {
      KvEvent& event = bad[random() % bad.size()];
      switch (random() % 4) {
        case 0:
          event.value[random() % 16] ^= static_cast<std::byte>(1u << (random() % 8));
          break;
        case 1:
          event.bytes ^= std::size_t{1} << (random() % 6);
          break;
        case 2:
          event.offset ^= std::size_t{1} << (random() % 10);
          break;
        default:
          event.tensor = event.tensor == nullptr ? &bad : nullptr;
          break;
      }
    }
    const auto places = parse_kv_events(bad);
    if (!places || !places->holds(4, 4)) continue;
    const std::size_t block_bytes = places->layout().block_bytes(4);
    std::vector<std::byte> block(block_bytes);
    places->write_ext(4, 4, block);
    places->for_each_piece(4, 4, 4, [&](const KvPlaces::Piece& piece) { ASSERT_LE(piece.block_offset + piece.bytes, block_bytes); });
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, KvLayoutTest, ::testing::Combine(::testing::Values(0, 12), ::testing::Bool(), ::testing::Values(1, 2)));

TEST(KvPlaces, AWindowThatLostABlockDoesNotHoldIt) {
  FakeContext computed({.payloads = 2, .window = 6}, 0, in_a_row(0, 12));
  const auto places = parse_kv_events(computed.written());
  ASSERT_TRUE(places);
  EXPECT_FALSE(places->holds(4, 4));
  EXPECT_TRUE(places->holds(8, 4));
}

TEST(KvPlaces, NothingIsMadeOfNothing) { EXPECT_FALSE(parse_kv_events({})); }

}   // namespace
}   // namespace tensorcache::model
