#include "serving/protocol/cache_control.h"

#include <gtest/gtest.h>

namespace tensorcache::protocol {
namespace {

using namespace std::chrono_literals;

TEST(CacheControl, Directives) {
  const CacheControl all = parse_cache_control(" No-Cache , no-store,ONLY-IF-CACHED,, max-age = 60");
  EXPECT_TRUE(all.no_cache && all.no_store && all.only_if_cached);
  EXPECT_EQ(all.max_age, 60s);
  const CacheControl none = parse_cache_control("");
  EXPECT_FALSE(none.no_cache || none.no_store || none.only_if_cached || none.max_age);
}

TEST(CacheControl, UnknownOnesAreIgnored) {
  const CacheControl control = parse_cache_control("stale-while-revalidate=5, x=\"no-cache, no-store\", no-cachet");
  EXPECT_FALSE(control.no_cache || control.no_store);
}

TEST(CacheControl, AMalformedMaxAgeIsStale) {
  for (const char* text : {"max-age", "max-age=", "max-age=x", "max-age=-1", "max-age=1.5", "max-age=\"\""})
    EXPECT_EQ(parse_cache_control(text).max_age, 0s) << text;
  EXPECT_EQ(parse_cache_control("max-age=\"7\"").max_age, 7s);
  EXPECT_EQ(parse_cache_control("max-age=99999999999999999999").max_age, std::chrono::seconds(1LL << 31));
  EXPECT_EQ(parse_cache_control("max-age=9, max-age=3").max_age, 3s);
}

TEST(CacheStatus, Texts) {
  using Forward = CacheStatus::Forward;
  using Bypass = CacheStatus::Bypass;
  EXPECT_EQ(cache_status_text({}), "TensorCache; hit; detail=answer");
  EXPECT_EQ(cache_status_text({Forward::kMiss, Bypass::kNone, false, true, 0, {}}), "TensorCache; fwd=miss; stored; detail=miss");
  EXPECT_EQ(cache_status_text({Forward::kBypass, Bypass::kAnswersOff, false, false, 0, {}}), "TensorCache; fwd=bypass; detail=\"answers are off\"");
  EXPECT_EQ(cache_status_text({Forward::kBypass, Bypass::kSampled, false, false, 64, engine::Fidelity::kKv}),
            "TensorCache; fwd=bypass; detail=\"sampled: set temperature=0 or seed; prefix; tokens=64; fidelity=kv\"");
  EXPECT_EQ(cache_status_text({Forward::kRequest, Bypass::kNone, false, {}, 32, engine::Fidelity::kKv}),
            "TensorCache; fwd=request; detail=\"prefix; tokens=32; fidelity=kv\"");
  EXPECT_EQ(cache_status_text({Forward::kMiss, Bypass::kNone, true, {}, 0, {}}), "TensorCache; fwd=miss; collapsed; detail=miss");
}

}   // namespace
}   // namespace tensorcache::protocol
