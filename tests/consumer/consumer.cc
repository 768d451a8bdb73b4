// Uses a part of everything in the installed library.
#include <tensorcache/cache.h>
#include <tensorcache/cache_manager.h>
#include <tensorcache/tensor_cache.h>

#include <cstdio>

int main() {
  tensorcache::Cache cache({.capacity_bytes = 1 << 20, .policy = "fifo"});
  const tensorcache::Key key = tensorcache::KeyBuilder("consumer/1").field("n", 1).build();
  if (cache.put(key, "found", {.kind = tensorcache::Kind::kAnswer}) != tensorcache::PutStatus::kStored) return 1;
  if (cache.get(key).text() != "found") return 2;
  const auto computed = cache.get_or_compute(tensorcache::Key::of("other"), [] { return std::vector<std::byte>(10); });
  if (computed.bytes().size() != 10) return 3;
  tensorcache::CacheManager manager({.store = {.capacity_bytes = 1 << 20}});
  const float numbers[] = {1, 2};
  if (!manager.cache("embeddings").add("text", tensorcache::TensorView::of(std::span<const float>(numbers), {2}))) return 4;
  if (manager.cache("embeddings").get("text").tensor().elements<float>()[1] != 2) return 5;
  std::puts("the installed library works");
}
