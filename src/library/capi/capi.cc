// Implements the C ABI over TensorCache. Every function that may throw runs inside guarded().
#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tensorcache/tensor_cache.h"
#include "tensorcache/tensorcache.h"

using tensorcache::TensorCache;

struct tc_cache {
  TensorCache cache;
};

struct tc_value {
  explicit tc_value(tensorcache::Hit found) : hit(std::move(found)) {
    for (std::size_t part = 0; part < hit.parts(); ++part) parts.push_back(hit.tensor(part));
  }
  tensorcache::Hit hit;
  std::vector<tensorcache::TensorView> parts;   // own the shapes to which callers hold pointers
};

struct tc_lease {
  tensorcache::Lease lease;
};

struct tc_output {
  std::optional<tensorcache::Tensor> value;
};

namespace {

struct ComputeFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string& last_error() {
  thread_local std::string message;
  return message;
}

tc_status failed(tc_status status, const char* message) noexcept {
  try {
    last_error() = message;
  } catch (...) {
    last_error().clear();   // out of memory: the status has to do
  }
  return status;
}

template <class Action>
tc_status guarded(const Action& action) noexcept {
  try {
    return action();
  } catch (const std::invalid_argument& error) {
    return failed(TC_INVALID_ARGUMENT, error.what());
  } catch (const std::out_of_range& error) {
    return failed(TC_INVALID_ARGUMENT, error.what());
  } catch (const ComputeFailed& error) {
    return failed(TC_COMPUTE_FAILED, error.what());
  } catch (const std::bad_alloc&) {
    return failed(TC_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(TC_ERROR, error.what());
  } catch (...) {
    return failed(TC_ERROR, "an exception of an unknown type");
  }
}

template <class Pointer>
Pointer& need(Pointer* pointer, const char* name) {
  if (pointer == nullptr) throw std::invalid_argument(std::string(name) + ": must not be null");
  return *pointer;
}

// Copies a caller's struct, which may be older and shorter than ours: missing fields are taken from
// `defaults`.
template <class Struct>
Struct grown(const Struct* given, Struct defaults, const char* name) {
  if (given == nullptr) return defaults;
  if (given->size < sizeof(std::size_t) || given->size > 4096) throw std::invalid_argument(std::string(name) + ".size: must be sizeof the struct");
  std::memcpy(&defaults, given, std::min(given->size, sizeof(Struct)));
  return defaults;
}

std::chrono::milliseconds milliseconds(std::uint64_t count) {
  return std::chrono::milliseconds(std::min<std::uint64_t>(count, std::chrono::milliseconds::max().count()));
}

tensorcache::ComputeOptions add_options(const tc_add_options* given) {
  const tc_add_options from = grown<tc_add_options>(given, TC_ADD_OPTIONS_INIT, "options");
  tensorcache::ComputeOptions options;
  options.time_to_live = milliseconds(from.time_to_live_ms);
  options.stale_for = milliseconds(from.stale_for_ms);
  options.cost_seconds = from.cost_seconds;
  options.negative_time_to_live = milliseconds(from.negative_time_to_live_ms);
  for (std::size_t i = 0; i < from.tag_count; ++i) options.tags.emplace_back(&need(need(from.tags + i, "options.tags"), "options.tags"));
  return options;
}

tensorcache::TensorView view_of(const tc_tensor* given) {
  const tc_tensor& tensor = need(given, "value");
  tensorcache::TensorView view;
  view.dtype = static_cast<tensorcache::DType>(tensor.dtype);
  if (tensor.dtype < 0 || tensor.dtype >= static_cast<std::int32_t>(tensorcache::kDTypeCount))
    throw std::invalid_argument("value.dtype: is no tc_dtype");
  view.data = tensor.data;
  if (tensor.rank > 0) {
    view.shape = std::span<const std::int64_t>(&need(tensor.shape, "value.shape"), tensor.rank);
    view.strides = tensor.strides != nullptr ? tensorcache::Axes(std::span(tensor.strides, tensor.rank)) : tensorcache::row_major(view.shape);
  }
  return view;
}

tensorcache::Key key_of(const tc_key* given) {
  tensorcache::Key key;
  std::memcpy(key.bytes.data(), need(given, "key").bytes, key.bytes.size());
  return key;
}

tc_status key_into(const tensorcache::ItemKey& item, tc_key* key) {
  std::memcpy(need(key, "key").bytes, item.key().bytes.data(), sizeof key->bytes);
  return TC_OK;
}

tc_status status_of(const tensorcache::WriteResult& result, std::uint64_t* version) {
  if (version != nullptr) *version = result.version;
  switch (result.status) {
    case tensorcache::WriteStatus::kStored:
      return TC_OK;
    case tensorcache::WriteStatus::kConflict:
      return failed(TC_CONFLICT, "another version is stored");
    case tensorcache::WriteStatus::kLeaseLost:
      return failed(TC_LEASE_LOST, "the lease expired or was released");
    case tensorcache::WriteStatus::kTooLarge:
      return failed(TC_TOO_LARGE, "the value is larger than the whole cache");
    case tensorcache::WriteStatus::kNoSpace:
      return failed(TC_NO_SPACE, "every evictable entry is pinned");
    case tensorcache::WriteStatus::kUnavailable:
      return failed(TC_UNAVAILABLE, "the stored value cannot be read now");
  }
  return failed(TC_ERROR, "an unknown status");
}

tc_status value_into(tensorcache::Hit hit, tc_value** value) {
  if (hit.negative()) return failed(TC_NOTHING, "a negative entry is stored under this key");
  if (hit.unavailable()) return failed(TC_UNAVAILABLE, "the stored value cannot be read now");
  if (!hit) return failed(TC_MISS, "nothing is stored under this key");
  *value = new tc_value(std::move(hit));
  return TC_OK;
}

}   // namespace

extern "C" {

const char* tc_last_error(void) { return last_error().c_str(); }

const char* tc_status_name(tc_status status) {
  constexpr const char* kNames[] = {"ok",       "miss",     "nothing",        "invalid argument", "conflict", "lease lost", "too large",
                                    "no space", "time-out", "compute failed", "out of memory",    "error",    "unavailable"};
  const auto number = static_cast<std::size_t>(status);
  return number < std::size(kNames) ? kNames[number] : "unknown";
}

const char* tc_version(void) { return TENSORCACHE_VERSION; }

tc_status tc_key_tokens(const std::int64_t* tokens, std::size_t count, tc_key* key) {
  return guarded([&] {
    if (count > 0) need(tokens, "tokens");
    return key_into(std::span(tokens, count), key);
  });
}

tc_status tc_key_text(const char* utf8, std::size_t bytes, tc_key* key) {
  return guarded([&] {
    if (bytes > 0) need(utf8, "utf8");
    return key_into(std::string_view(utf8, bytes), key);
  });
}

tc_status tc_key_bytes(const void* data, std::size_t bytes, tc_key* key) {
  return guarded([&] {
    const auto* begin = static_cast<const std::byte*>(data);
    if (bytes > 0) need(begin, "data");
    return key_into(std::span(begin, bytes), key);
  });
}

tc_status tc_cache_open(const tc_options* given, tc_cache** cache) {
  return guarded([&] {
    need(cache, "cache");
    const tc_options from = grown<tc_options>(given, TC_OPTIONS_INIT, "options");
    tensorcache::TensorCacheOptions options;
    if (from.capacity_bytes > 0) options.store.capacity_bytes = from.capacity_bytes;
    options.capacity_entries = from.capacity_entries;
    if (from.policy != nullptr) options.store.policy = from.policy;
    if (from.name != nullptr) options.name = from.name;
    if (from.directory != nullptr) {
      options.store.disk.emplace().directory = from.directory;
      if (from.disk_bytes > 0) options.store.disk->capacity_bytes = from.disk_bytes;
    }
    *cache = new tc_cache{TensorCache(options)};
    return TC_OK;
  });
}

void tc_cache_close(tc_cache* cache) { delete cache; }

tc_status tc_cache_close_within(tc_cache* cache, std::uint64_t time_ms) {
  return guarded([&] {
    const std::unique_ptr<tc_cache> closing(&need(cache, "cache"));
    return closing->cache.close(milliseconds(std::min<std::uint64_t>(time_ms, std::uint64_t{1} << 40)))
               ? TC_OK
               : failed(TC_TIMEOUT, "not all removals could be persisted: removed or replaced values may reappear at the next start");
  });
}

tc_status tc_add(tc_cache* cache, const tc_key* key, const tc_tensor* value, const tc_add_options* options, std::uint64_t* version) {
  return guarded([&] { return status_of(need(cache, "cache").cache.add(key_of(key), view_of(value), add_options(options)), version); });
}

tc_status tc_put_if_version(tc_cache* cache, const tc_key* key, std::uint64_t expected, const tc_tensor* value, const tc_add_options* options,
                            std::uint64_t* version) {
  return guarded(
      [&] { return status_of(need(cache, "cache").cache.put_if_version(key_of(key), expected, view_of(value), add_options(options)), version); });
}

tc_status tc_get(tc_cache* cache, const tc_key* key, tc_value** value) {
  return guarded([&] {
    need(value, "value");
    return value_into(need(cache, "cache").cache.get(key_of(key)), value);
  });
}

tc_status tc_get_many(tc_cache* cache, const tc_key* keys, std::size_t count, tc_value** values) {
  return guarded([&] {
    TensorCache& from = need(cache, "cache").cache;
    if (count > 0) need(keys, "keys"), need(values, "values");
    std::vector<std::unique_ptr<tc_value>> found(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (tensorcache::Hit hit = from.get(key_of(keys + i))) found[i] = std::make_unique<tc_value>(std::move(hit));
    }
    for (std::size_t i = 0; i < count; ++i) values[i] = found[i].release();
    return TC_OK;
  });
}

void tc_value_release(tc_value* value) { delete value; }
std::size_t tc_value_parts(const tc_value* value) { return value != nullptr ? value->parts.size() : 0; }

tc_status tc_value_tensor(const tc_value* value, std::size_t part, tc_tensor* tensor) {
  return guarded([&] {
    const tc_value& from = need(value, "value");
    tc_tensor& to = need(tensor, "tensor");
    if (part >= from.parts.size()) throw std::out_of_range("part: the value has " + std::to_string(from.parts.size()));
    const tensorcache::TensorView& view = from.parts[part];
    to = {static_cast<std::int32_t>(view.dtype), static_cast<std::uint32_t>(view.rank()), view.data, view.shape.data(), view.strides.data()};
    return TC_OK;
  });
}

const char* tc_value_structure(const tc_value* value, std::size_t* bytes) {
  const std::string_view structure = value != nullptr ? value->hit.structure() : std::string_view();
  if (bytes != nullptr) *bytes = structure.size();
  return structure.empty() ? "" : structure.data();
}

std::uint64_t tc_value_version(const tc_value* value) { return value != nullptr ? value->hit.version() : 0; }
std::uint64_t tc_value_age_ms(const tc_value* value) { return value != nullptr ? static_cast<std::uint64_t>(value->hit.age().count()) : 0; }
int tc_value_is_stale(const tc_value* value) { return value != nullptr && value->hit.stale() ? 1 : 0; }

tc_status tc_output_set(tc_output* output, const tc_tensor* value) {
  return guarded([&] {
    need(output, "output").value.emplace(view_of(value));
    return TC_OK;
  });
}

tc_status tc_get_or_compute(tc_cache* cache, const tc_key* key, tc_compute compute, void* context, const tc_add_options* options, tc_value** value) {
  return guarded([&] {
    need(value, "value");
    need(compute, "compute");
    const auto call = [compute, context]() -> std::optional<tensorcache::Tensor> {
      tc_output output;
      if (const int result = compute(context, &output)) throw ComputeFailed("compute returned " + std::to_string(result));
      return std::move(output.value);
    };
    return value_into(need(cache, "cache").cache.get_or_compute(key_of(key), call, add_options(options)), value);
  });
}

tc_status tc_remove(tc_cache* cache, const tc_key* key) {
  return guarded([&] { return need(cache, "cache").cache.remove(key_of(key)) ? TC_OK : failed(TC_MISS, "nothing is stored under this key"); });
}

tc_status tc_clear(tc_cache* cache) {
  return guarded([&] {
    need(cache, "cache").cache.clear();
    return TC_OK;
  });
}

tc_status tc_invalidate(tc_cache* cache, const char* tag) {
  return guarded([&] {
    return need(cache, "cache").cache.invalidate(&need(tag, "tag"))
               ? TC_OK
               : failed(TC_ERROR, "the invalidation could not be persisted; it applies to this process only");
  });
}

tc_status tc_lease_take(tc_cache* cache, const tc_key* key, std::uint64_t timeout_ms, std::uint64_t hold_ms, tc_lease** lease) {
  return guarded([&] {
    need(lease, "lease");
    tensorcache::Lease taken = need(cache, "cache").cache.lease(key_of(key), milliseconds(timeout_ms), milliseconds(hold_ms));
    if (!taken) return failed(TC_TIMEOUT, "the lease is held by another caller");
    *lease = new tc_lease{std::move(taken)};
    return TC_OK;
  });
}

tc_status tc_lease_add(tc_cache* cache, const tc_lease* lease, const tc_tensor* value, const tc_add_options* options, std::uint64_t* version) {
  return guarded(
      [&] { return status_of(need(cache, "cache").cache.add(need(lease, "lease").lease, view_of(value), add_options(options)), version); });
}

void tc_lease_release(tc_lease* lease) { delete lease; }

tc_status tc_resize(tc_cache* cache, std::uint64_t capacity_bytes) {
  return guarded([&] {
    need(cache, "cache").cache.resize(capacity_bytes);
    return TC_OK;
  });
}

tc_status tc_flush(tc_cache* cache, std::uint64_t time_ms) {
  return guarded([&] {
    return need(cache, "cache").cache.flush(milliseconds(std::min<std::uint64_t>(time_ms, std::uint64_t{1} << 40)))
               ? TC_OK
               : failed(TC_TIMEOUT, "some writes or removals are not on disk");
  });
}

tc_status tc_get_stats(const tc_cache* cache, tc_stats* stats) {
  return guarded([&] {
    const TensorCache& of = need(cache, "cache").cache;
    const std::size_t size = grown<tc_stats>(&need(stats, "stats"), {}, "stats").size;
    const tensorcache::TensorCacheStats from = of.stats();
    const tc_stats to = {size,
                         of.size(),
                         from.store.used_bytes,
                         from.store.capacity_bytes,
                         from.hits,
                         from.stale_hits,
                         from.misses,
                         from.writes,
                         from.store.evictions + from.entry_limit_evictions,
                         from.computations,
                         from.refreshes,
                         from.disk.entries,
                         from.disk.used_bytes,
                         from.waits};
    std::memcpy(stats, &to, std::min(size, sizeof to));
    return TC_OK;
  });
}

}   // extern "C"
