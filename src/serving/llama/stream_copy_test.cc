#include "serving/llama/stream_copy.h"

#include <gtest/gtest.h>

#include <vector>

namespace tensorcache::llama {
namespace {

TEST(StreamCopy, CopiesAnySizeFromAndToAnyAddressAndNothingElse) {
  std::vector<std::byte> from(700), to(700), expected(700);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + 1);
  for (std::size_t source = 0; source < 3; ++source) {
    for (std::size_t target = 0; target < 65; target += 3) {
      for (std::size_t bytes = 0; bytes < 600; bytes += bytes < 140 ? 1 : 37) {
        to.assign(to.size(), std::byte{0});
        expected.assign(expected.size(), std::byte{0});
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(source), bytes, expected.begin() + static_cast<std::ptrdiff_t>(target));
        stream_copy(to.data() + target, from.data() + source, bytes);
        finish_stream_copies();
        ASSERT_EQ(to, expected) << source << " " << target << " " << bytes;
      }
    }
  }
}

}   // namespace
}   // namespace tensorcache::llama
