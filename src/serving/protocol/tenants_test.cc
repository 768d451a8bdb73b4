#include "serving/protocol/tenants.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace tensorcache::protocol {
namespace {

TEST(Tenants, WithoutKeysEverybodyIsTheDefault) {
  const Tenants tenants({}, false);
  EXPECT_FALSE(tenants.keys_required());
  EXPECT_EQ(tenants.identify("")->tenant, "default");
  EXPECT_EQ(tenants.identify("Bearer whatever")->tenant, "default") << "SDKs always send one";
  EXPECT_TRUE(tenants.identify("")->admin);
}

TEST(Tenants, KeysNameTenants) {
  const Tenants tenants({{"k1", "a", false}, {"k2", "a", false}, {"k3", "b", true}}, false);
  EXPECT_EQ(tenants.identify("Bearer k2")->tenant, "a");
  EXPECT_EQ(tenants.identify("bearer  k3 ")->tenant, "b");
  EXPECT_FALSE(tenants.identify("Bearer k1")->admin);
  EXPECT_TRUE(tenants.identify("Bearer k3")->admin);
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer k", "Bearer k11", "Basic k1", "k1"}) EXPECT_FALSE(tenants.identify(wrong)) << wrong;
}

TEST(Tenants, OneTenantIsItsOwnAdmin) {
  const Tenants tenants({{"k1", "a", false}, {"k2", "a", false}}, false);
  EXPECT_FALSE(tenants.several());
  EXPECT_TRUE(tenants.identify("Bearer k1")->admin);
}

TEST(Tenants, AMarkIsTakenAtItsWordWithOneTenantToo) {
  const Tenants tenants({{"k1", "a", true}, {"k2", "a", false}}, false);
  EXPECT_TRUE(tenants.identify("Bearer k1")->admin);
  EXPECT_FALSE(tenants.identify("Bearer k2")->admin);
}

TEST(Tenants, SharedTenantsAreOneAndNoTenantCanBeNamedSo) {
  const Tenants tenants({{"k1", "a", false}, {"k2", "b", false}}, true);
  EXPECT_EQ(tenants.identify("Bearer k1")->tenant, tenants.identify("Bearer k2")->tenant);
  EXPECT_THROW(Tenants({{"k1", "", false}}, false), std::invalid_argument);
}

}   // namespace
}   // namespace tensorcache::protocol
