// The cache as a library, without any server: an "embedding" computed once, and found from then on.
#include <chrono>
#include <iostream>
#include <thread>

#include "tensorcache/cache.h"

namespace {

std::vector<std::byte> embed(std::string_view text) {   // stands for a model
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  return std::vector<std::byte>(4096, static_cast<std::byte>(text.size()));
}

}   // namespace

int main() {
  tensorcache::Cache cache({.capacity_bytes = 64 << 20, .policy = "lru"});
  const std::string text = "Never compute the same thing twice.";
  // Everything that determines the value belongs in its key.
  const auto key = tensorcache::KeyBuilder("quickstart/embedding/1").field("model", "toy").field("text", text).build();

  for (const char* turn : {"first", "again"}) {
    const auto start = std::chrono::steady_clock::now();
    const tensorcache::Handle embedding = cache.get_or_compute(key, [&] { return embed(text); }, {.kind = tensorcache::Kind::kTensor});
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    std::cout << turn << ": " << embedding.bytes().size() << " bytes in " << took.count() << " ms\n";
  }
  const tensorcache::Stats stats = cache.stats();
  std::cout << stats.hits << " hit, " << stats.misses << " miss, " << stats.used_bytes << " bytes in use\n";
  return stats.hits == 1 && stats.misses == 1 ? 0 : 1;
}
