#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <unistd.h>

#include "tensorcache/tensorcache.h"

namespace {

tc_key key_of(const char* text) {
  tc_key key;
  EXPECT_EQ(tc_key_text(text, std::strlen(text), &key), TC_OK);
  return key;
}

// Points at both.
tc_tensor text_of(std::string_view text, const std::int64_t* length) { return {TC_TEXT, 1, text.data(), length, nullptr}; }

class CApi : public ::testing::Test {
 protected:
  void SetUp() override {
    tc_options options = TC_OPTIONS_INIT;
    options.capacity_bytes = 1 << 20;
    ASSERT_EQ(tc_cache_open(&options, &cache_), TC_OK) << tc_last_error();
  }
  void TearDown() override { tc_cache_close(cache_); }
  tc_status add(const char* key_text, const std::string& text, const tc_add_options* options = nullptr, std::uint64_t* version = nullptr) {
    const tc_key key = key_of(key_text);
    const auto length = static_cast<std::int64_t>(text.size());
    const tc_tensor tensor = text_of(text, &length);
    return tc_add(cache_, &key, &tensor, options, version);
  }
  [[nodiscard]] std::string get(const char* key_text) {
    const tc_key key = key_of(key_text);
    tc_value* value = nullptr;
    const tc_status status = tc_get(cache_, &key, &value);
    if (status != TC_OK) return tc_status_name(status);
    tc_tensor tensor;
    EXPECT_EQ(tc_value_tensor(value, 0, &tensor), TC_OK);
    std::string text(static_cast<const char*>(tensor.data), static_cast<std::size_t>(tensor.shape[0]));
    tc_value_release(value);
    return text;
  }
  tc_cache* cache_ = nullptr;
};

TEST_F(CApi, ATensorGoesThereAndBack) {
  const std::int64_t tokens[] = {1, 2, 3}, shape[] = {2, 2}, columns[] = {1, 2};
  const float numbers[] = {1, 2, 3, 4};
  tc_key key;
  ASSERT_EQ(tc_key_tokens(tokens, 3, &key), TC_OK);
  const tc_tensor tensor = {TC_FLOAT32, 2, numbers, shape, columns};
  std::uint64_t version = 0;
  ASSERT_EQ(tc_add(cache_, &key, &tensor, nullptr, &version), TC_OK);
  tc_value* value = nullptr;
  ASSERT_EQ(tc_get(cache_, &key, &value), TC_OK);
  EXPECT_EQ(tc_value_version(value), version);
  EXPECT_EQ(tc_value_parts(value), 1u);
  EXPECT_FALSE(tc_value_is_stale(value));
  std::size_t bytes = 7;
  EXPECT_STREQ(tc_value_structure(value, &bytes), "");
  EXPECT_EQ(bytes, 0u);
  tc_cache_close(std::exchange(cache_, nullptr));   // the value holds its bytes
  tc_tensor found;
  ASSERT_EQ(tc_value_tensor(value, 0, &found), TC_OK);
  EXPECT_EQ(found.dtype, TC_FLOAT32);
  EXPECT_EQ(found.rank, 2u);
  EXPECT_EQ(found.strides[1], 2);
  EXPECT_EQ(static_cast<const float*>(found.data)[3], 4);
  EXPECT_EQ(tc_value_tensor(value, 1, &found), TC_INVALID_ARGUMENT);
  tc_value_release(value);
}

TEST_F(CApi, VersionsTagsAndLeases) {
  std::uint64_t version = 0;
  const char* tags[] = {"t"};
  tc_add_options options = TC_ADD_OPTIONS_INIT;
  options.tags = tags;
  options.tag_count = 1;
  ASSERT_EQ(add("k", "1", &options, &version), TC_OK);
  const tc_key key = key_of("k");
  const std::int64_t one = 1;
  const tc_tensor two = text_of("2", &one);
  std::uint64_t there = 0;
  EXPECT_EQ(tc_put_if_version(cache_, &key, 0, &two, nullptr, &there), TC_CONFLICT);
  EXPECT_EQ(there, version);
  EXPECT_EQ(tc_invalidate(cache_, "t"), TC_OK);
  EXPECT_EQ(get("k"), "miss");
  EXPECT_EQ(tc_put_if_version(cache_, &key, 0, &two, nullptr, nullptr), TC_OK);
  tc_lease *lease = nullptr, *other = nullptr;
  ASSERT_EQ(tc_lease_take(cache_, &key, 0, 10'000, &lease), TC_OK);
  EXPECT_EQ(tc_lease_take(cache_, &key, 1, 10'000, &other), TC_TIMEOUT);
  EXPECT_EQ(tc_lease_add(cache_, lease, &two, nullptr, nullptr), TC_OK);
  tc_lease_release(lease);
  EXPECT_EQ(get("k"), "2");
  EXPECT_EQ(tc_remove(cache_, &key), TC_OK);
  EXPECT_EQ(tc_remove(cache_, &key), TC_MISS);
}

struct Call {
  int calls = 0, result = 0;
  bool set = true;
};

int compute(void* context, tc_output* output) {
  auto* call = static_cast<Call*>(context);
  ++call->calls;
  const std::int64_t length = 3;
  const tc_tensor value = text_of("new", &length);
  if (call->set && tc_output_set(output, &value) != TC_OK) return 99;
  return call->result;
}

TEST_F(CApi, ComputesOnceAndSaysWhenThatFailed) {
  const tc_key key = key_of("k");
  tc_value* value = nullptr;
  Call call{.result = 5};
  EXPECT_EQ(tc_get_or_compute(cache_, &key, compute, &call, nullptr, &value), TC_COMPUTE_FAILED);
  EXPECT_NE(std::string(tc_last_error()).find("returned 5"), std::string::npos);
  EXPECT_EQ(value, nullptr);
  Call nothing{.set = false};
  EXPECT_EQ(tc_get_or_compute(cache_, &key, compute, &nothing, nullptr, &value), TC_NOTHING);
  call = {};
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(tc_get_or_compute(cache_, &key, compute, &call, nullptr, &value), TC_OK);
    tc_value_release(value);
  }
  EXPECT_EQ(call.calls, 1);
  EXPECT_EQ(get("k"), "new");
  const tc_key other = key_of("other");
  const auto throws = [](void*, tc_output*) -> int { throw 1; };
  EXPECT_EQ(tc_get_or_compute(cache_, &other, throws, nullptr, nullptr, &value), TC_ERROR) << "no exception leaves the library";
  EXPECT_EQ(get("other"), "miss");
}

TEST_F(CApi, ManyAtOnceAndStatistics) {
  ASSERT_EQ(add("a", "1"), TC_OK);
  const tc_key keys[] = {key_of("a"), key_of("b")};
  tc_value* values[2];
  ASSERT_EQ(tc_get_many(cache_, keys, 2, values), TC_OK);
  EXPECT_NE(values[0], nullptr);
  EXPECT_EQ(values[1], nullptr);
  tc_value_release(values[0]);
  tc_stats stats{};
  EXPECT_EQ(tc_get_stats(cache_, &stats), TC_INVALID_ARGUMENT) << "without its size";
  stats.size = sizeof stats;
  ASSERT_EQ(tc_get_stats(cache_, &stats), TC_OK);
  EXPECT_EQ(stats.entries, 1u);
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.waits, 0u);
  EXPECT_EQ(stats.capacity_bytes, 1u << 20);
  // A caller that was compiled against an older, shorter struct.
  std::uint64_t room[sizeof(tc_stats) / sizeof(std::uint64_t)];
  std::fill(std::begin(room), std::end(room), 77);
  room[0] = 2 * sizeof(std::uint64_t);
  ASSERT_EQ(tc_get_stats(cache_, reinterpret_cast<tc_stats*>(room)), TC_OK);
  EXPECT_EQ(room[1], 1u);
  EXPECT_EQ(room[2], 77u) << "nothing is written behind its end";
  EXPECT_EQ(tc_clear(cache_), TC_OK);
  EXPECT_EQ(get("a"), "miss");
}

TEST_F(CApi, MistakesAreNamed) {
  const auto says = [](const char* part) { return std::string(tc_last_error()).find(part) != std::string::npos; };
  tc_key key = key_of("k");
  EXPECT_EQ(tc_get(nullptr, &key, nullptr), TC_INVALID_ARGUMENT);
  tc_value* value = nullptr;
  EXPECT_EQ(tc_get(cache_, nullptr, &value), TC_INVALID_ARGUMENT);
  EXPECT_TRUE(says("key: must not be null")) << tc_last_error();
  EXPECT_EQ(tc_key_tokens(nullptr, 1, &key), TC_INVALID_ARGUMENT);
  const std::int64_t shape[] = {-1};
  tc_tensor wrong = {TC_INT8, 1, "x", shape, nullptr};
  EXPECT_EQ(tc_add(cache_, &key, &wrong, nullptr, nullptr), TC_INVALID_ARGUMENT);
  wrong = {99, 0, "x", nullptr, nullptr};
  EXPECT_EQ(tc_add(cache_, &key, &wrong, nullptr, nullptr), TC_INVALID_ARGUMENT);
  EXPECT_TRUE(says("dtype")) << tc_last_error();
  wrong = {TC_INT8, 17, "x", shape, nullptr};
  EXPECT_EQ(tc_add(cache_, &key, &wrong, nullptr, nullptr), TC_INVALID_ARGUMENT);
  ASSERT_EQ(add("k", "there"), TC_OK);
  EXPECT_EQ(add("k", std::string(2 << 20, 'x')), TC_TOO_LARGE);
  const std::int64_t three[] = {3};
  wrong = {TC_FLOAT32, 1, nullptr, three, nullptr};
  EXPECT_EQ(tc_add(cache_, &key, &wrong, nullptr, nullptr), TC_INVALID_ARGUMENT);
  EXPECT_TRUE(says("null")) << tc_last_error();
  EXPECT_EQ(get("k"), "there");
  EXPECT_EQ(tc_get_stats(cache_, nullptr), TC_INVALID_ARGUMENT);
  tc_add_options options{};
  EXPECT_EQ(add("k", "x", &options), TC_INVALID_ARGUMENT);
  EXPECT_TRUE(says("options.size")) << tc_last_error();
  tc_options open = TC_OPTIONS_INIT;
  tc_cache* other = nullptr;
  open.policy = "clairvoyant";
  EXPECT_EQ(tc_cache_open(&open, &other), TC_INVALID_ARGUMENT);
  EXPECT_TRUE(says("clairvoyant")) << tc_last_error();
  std::thread([] { EXPECT_STREQ(tc_last_error(), "") << "another thread's"; }).join();
  tc_cache_close(nullptr);
  tc_value_release(nullptr);
  tc_lease_release(nullptr);
}

TEST(CApiDisk, OneProcessADirectoryAndThereAgainAfterwards) {
  const std::string directory = ::testing::TempDir() + "tensorcache-capi-" + std::to_string(::getpid());
  tc_options options = TC_OPTIONS_INIT;
  options.directory = directory.c_str();
  tc_cache *cache = nullptr, *second = nullptr;
  const tc_key key = key_of("k");
  const std::int64_t length = 3;
  const tc_tensor value = text_of("abc", &length);
  ASSERT_EQ(tc_cache_open(&options, &cache), TC_OK) << tc_last_error();
  EXPECT_EQ(tc_cache_open(&options, &second), TC_ERROR);
  EXPECT_NE(std::string(tc_last_error()).find(directory), std::string::npos) << tc_last_error();
  ASSERT_EQ(tc_add(cache, &key, &value, nullptr, nullptr), TC_OK);
  EXPECT_EQ(tc_flush(cache, 20'000), TC_OK);
  tc_cache_close(cache);
  ASSERT_EQ(tc_cache_open(&options, &cache), TC_OK) << tc_last_error();
  tc_value* found = nullptr;
  EXPECT_EQ(tc_get(cache, &key, &found), TC_OK);
  tc_value_release(found);
  EXPECT_EQ(tc_remove(cache, &key), TC_OK);
  EXPECT_EQ(tc_cache_close_within(cache, 20'000), TC_OK) << tc_last_error();
  ASSERT_EQ(tc_cache_open(&options, &cache), TC_OK) << tc_last_error();
  EXPECT_EQ(tc_get(cache, &key, &found), TC_MISS) << "it was removed";
  EXPECT_EQ(tc_cache_close_within(cache, 20'000), TC_OK);
  EXPECT_EQ(tc_cache_close_within(nullptr, 0), TC_INVALID_ARGUMENT);
  std::filesystem::remove_all(directory);
}

}   // namespace
