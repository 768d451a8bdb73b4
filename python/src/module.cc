// tensorcache._core: TensorCache for Python, without comfort; python/tensorcache/ adds that.
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <optional>

#include "base/units.h"
#include "core.h"
#include "tensorcache/cache_manager.h"

namespace tensorcache::python {
namespace {

std::atomic<std::uint64_t> fork_count{0};

// Copying less than this is not worth letting go of the GIL.
constexpr std::size_t kLongBytes = 64 << 10;

struct Unlocked {   // the GIL, where `long_work`
  explicit Unlocked(bool long_work) {
    if (long_work) release.emplace();
  }
  std::optional<py::gil_scoped_release> release;
};

std::chrono::milliseconds milliseconds(double seconds, const char* name) {
  if (!(seconds >= 0)) throw py::value_error(std::string(name) + " must be a number of seconds, 0 or more");
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(seconds, 1e12) * 1000 + 0.5));
}

// What a value is stored with, as a tuple: (ttl, stale, tags, cost, as_of), times in seconds.
AddOptions options_of(const py::tuple& from) {
  AddOptions options;
  options.time_to_live = milliseconds(from[0].cast<double>(), "ttl");
  options.stale_for = milliseconds(from[1].cast<double>(), "stale");
  if (from[0].cast<double>() > 0 && options.time_to_live.count() == 0) options.time_to_live = std::chrono::milliseconds(1);
  options.tags = from[2].cast<std::vector<std::string>>();
  options.cost_seconds = from[3].cast<float>();
  options.as_of = from[4].cast<std::uint64_t>();
  return options;
}

// A TensorCache, or one of a CacheManager's, with what Python may do at the wrong time: use it closed, from a forked child, or close it
// while another thread is inside.
class CoreCache {
 public:
  CoreCache(std::shared_ptr<CacheManager> manager, const std::string& name, std::uint64_t entries, bool disk)
      : manager_(std::move(manager)), forks_(forks()), disk_(disk) {
    py::gil_scoped_release release;
    cache_ = std::shared_ptr<TensorCache>(manager_, &manager_->cache(name, entries));
  }
  ~CoreCache() { close(); }
  CoreCache(const CoreCache&) = delete;
  CoreCache& operator=(const CoreCache&) = delete;

  // What is inside stays until the last call that uses it has ended.
  [[nodiscard]] std::shared_ptr<TensorCache> use() const {
    if (forks_ != forks()) {
      throw std::runtime_error("this cache was opened before the process was forked; open one of its own in the child (on disk: in another path)");
    }
    if (!cache_) throw py::value_error("the cache is closed");
    return cache_;
  }
  [[nodiscard]] std::shared_ptr<CacheManager> manager() const {
    static_cast<void>(use());
    return manager_;
  }
  [[nodiscard]] bool has_disk() const { return disk_; }
  [[nodiscard]] bool is_closed() const { return !cache_; }
  void close() {
    if (forks_ != forks()) return leak();
    auto cache = std::move(cache_);
    auto manager = std::move(manager_);
    py::gil_scoped_release release;
    cache.reset();
    manager.reset();
  }

 private:
  // In a forked child: its threads are not there, and its locks may be held for ever.
  void leak() {
    new std::shared_ptr<TensorCache>(std::move(cache_));
    new std::shared_ptr<CacheManager>(std::move(manager_));
  }
  std::shared_ptr<CacheManager> manager_;
  std::shared_ptr<TensorCache> cache_;
  std::uint64_t forks_;
  bool disk_;
};

// A key's digest, made once for several calls.
struct Digest {
  Key key;
};

Key digest_of(py::handle object) {
  if (py::isinstance<Digest>(object)) return object.cast<const Digest&>().key;
  return key_of(object);
}

Hit find(const CoreCache& core, const Key& key) {
  const auto cache = core.use();
  const Unlocked unlocked(core.has_disk());   // in memory alone it takes less than letting go of the GIL
  return cache->get(key);
}

py::object assembled(const Hit& hit, const py::object& build) {
  if (hit.structure().empty()) return part_of(hit, 0);
  return build(*parts_of(hit, false));
}

// The value, or `otherwise`. `build(structure, parts)` puts together what is not a plain part.
py::object get(const CoreCache& core, py::handle key, const py::object& build, const py::object& otherwise) {
  const Hit hit = find(core, digest_of(key));
  return hit ? assembled(hit, build) : otherwise;
}

// The hit, or None. `counts`: as a hit or a miss.
py::object lookup(const CoreCache& core, py::handle key, bool counts) {
  const auto cache = core.use();
  const Key digest = digest_of(key);
  Hit hit;
  {
    const Unlocked unlocked(core.has_disk());
    hit = counts ? cache->get(digest) : cache->peek(digest);
  }
  if (hit.version() == 0) return py::none();
  return py::cast(Pin(std::move(hit)));
}

WriteResult checked(const WriteResult& result, std::size_t bytes) {
  if (result.status == WriteStatus::kTooLarge) {
    throw py::value_error("a value of " + format_size(bytes) + " is larger than the whole cache; give it more memory, or cache a smaller part");
  }
  if (result.status == WriteStatus::kNoSpace) {
    PyErr_SetString(PyExc_MemoryError,
                    "no room in the cache: all that could go is held by somebody; let go of earlier results, or give it more memory");
    throw py::error_already_set();
  }
  return result;
}

// `call(cache, parts, options)` writes; with the GIL only where that is soon over.
template <class Call>
WriteResult write(const CoreCache& core, const py::sequence& objects, const py::tuple& options, const Call& call) {
  const auto cache = core.use();
  const Parts parts(objects);
  const AddOptions add_options = options_of(options);
  WriteResult result;
  {
    const Unlocked unlocked(parts.bytes() >= kLongBytes);
    result = call(*cache, parts.views(), add_options);
  }
  return checked(result, parts.bytes());
}

std::uint64_t add(const CoreCache& core, py::handle key, const py::sequence& objects, const std::string& structure, const py::tuple& options) {
  const Key digest = digest_of(key);
  return write(core, objects, options, [&](auto& cache, auto parts, const auto& how) { return cache.add(digest, parts, structure, how); }).version;
}

// The version, or 0 where the lease was lost.
std::uint64_t lease_add(const CoreCache& core, const Lease& lease, const py::sequence& objects, const std::string& structure,
                        const py::tuple& options) {
  const WriteResult result =
      write(core, objects, options, [&](auto& cache, auto parts, const auto& how) { return cache.add(lease, parts, structure, how); });
  return result.status == WriteStatus::kLeaseLost ? 0 : result.version;
}

// (whether it was stored, the version that is stored now)
py::tuple put_if_version(const CoreCache& core, py::handle key, std::uint64_t version, const py::sequence& objects, const std::string& structure,
                         const py::tuple& options) {
  const Key digest = digest_of(key);
  const WriteResult result = write(
      core, objects, options, [&](auto& cache, auto parts, const auto& how) { return cache.put_if_version(digest, version, parts, structure, how); });
  return py::make_tuple(static_cast<bool>(result), result.version);
}

std::shared_ptr<CacheManager> open(const py::dict& from) {
  TensorCacheOptions options;
  options.store.capacity_bytes = from["memory"].cast<std::uint64_t>();
  options.store.policy = from["policy"].cast<std::string>();
  options.name = from["name"].cast<std::string>();
  options.capacity_entries = from["entries"].cast<std::uint64_t>();
  if (!from["path"].is_none()) {
    options.store.disk.emplace().directory = from["path"].cast<std::string>();
    options.store.disk->capacity_bytes = from["disk_size"].cast<std::uint64_t>();
  }
  py::gil_scoped_release release;
  return std::make_shared<CacheManager>(options);
}

py::dict stats(const CoreCache& core) {
  const auto cache = core.use();
  TensorCacheStats from;
  std::uint64_t entries = 0;
  {
    py::gil_scoped_release release;
    from = cache->stats();
    entries = cache->size();
  }
  py::dict to;
  to["entries"] = entries;
  to["used_bytes"] = from.store.used_bytes;
  to["capacity_bytes"] = from.store.capacity_bytes;
  to["peak_bytes"] = from.store.peak_bytes;
  to["hits"] = from.hits;
  to["stale_hits"] = from.stale_hits;
  to["negative_hits"] = from.negative_hits;
  to["misses"] = from.misses;
  to["writes"] = from.writes;
  to["rejected_writes"] = from.rejected_writes;
  to["conflicts"] = from.conflicts;
  to["evictions"] = from.store.evictions + from.entry_limit_evictions;
  to["expirations"] = from.store.expirations;
  if (core.has_disk()) {
    to["disk_entries"] = from.disk.entries;
    to["disk_bytes"] = from.disk.used_bytes;
    to["disk_capacity_bytes"] = from.disk.capacity_bytes;
    to["disk_hits"] = from.disk.hits;
    to["disk_degraded"] = from.disk.degraded;
    to["disk_reason"] = from.disk.reason;
  }
  return to;
}

std::uint64_t size_of_text(const std::string& text) {
  const auto parsed = parse_size(text);
  if (!parsed) throw py::value_error(parsed.error);
  return *parsed;
}

template <class Action>
auto unlocked(const CoreCache& core, const Action& action) {
  const auto cache = core.use();
  py::gil_scoped_release release;
  return action(*cache);
}

void define_cache(py::module_& module) {
  py::class_<CoreCache>(module, "Cache")
      .def(py::init([](const py::dict& options) {
        return std::make_unique<CoreCache>(open(options), options["name"].cast<std::string>(), 0, !options["path"].is_none());
      }))
      .def("named", [](const CoreCache& core, const std::string& name,
                       std::uint64_t entries) { return std::make_unique<CoreCache>(core.manager(), name, entries, core.has_disk()); })
      .def("names", [](const CoreCache& core) { return core.manager()->names(); })
      .def("close", &CoreCache::close)
      .def_property_readonly("closed", &CoreCache::is_closed)
      .def("get", &get)
      .def("lookup", &lookup)
      .def("contains",
           [](const CoreCache& core, py::handle key) {
             const auto cache = core.use();
             const Key digest = digest_of(key);
             const Unlocked release(core.has_disk());
             return cache->contains(digest);
           })
      .def("add", &add)
      .def("put_if_version", &put_if_version)
      .def("add_negative", [](const CoreCache& core, py::handle key,
                              const py::tuple& options) { static_cast<void>(core.use()->add_negative(digest_of(key), options_of(options))); })
      .def("remove",
           [](const CoreCache& core, py::handle key) {
             const Key digest = digest_of(key);
             return unlocked(core, [&](TensorCache& cache) { return cache.remove(digest); });
           })
      .def("clear", [](const CoreCache& core) { return unlocked(core, [](TensorCache& cache) { return cache.clear(); }); })
      .def("invalidate",
           [](const CoreCache& core, const std::string& tag) { return unlocked(core, [&](TensorCache& cache) { return cache.invalidate(tag); }); })
      .def("now", [](const CoreCache& core) { return core.use()->now(); })
      .def("lease",
           [](const CoreCache& core, py::handle key, double patience, double hold) -> std::unique_ptr<Lease> {
             const Key digest = digest_of(key);
             const auto wait = milliseconds(patience, "timeout"), length = milliseconds(hold, "hold");
             Lease lease = unlocked(core, [&](TensorCache& cache) { return cache.lease(digest, wait, length); });
             return lease ? std::make_unique<Lease>(std::move(lease)) : nullptr;
           })
      .def("lease_add", &lease_add)
      .def("resize", [](const CoreCache& core, std::uint64_t bytes) { unlocked(core, [&](TensorCache& cache) { cache.resize(bytes); }); })
      .def("resize_entries",
           [](const CoreCache& core, std::uint64_t entries) { unlocked(core, [&](TensorCache& cache) { cache.resize_entries(entries); }); })
      .def("flush",
           [](const CoreCache& core, double seconds) {
             const auto time = milliseconds(std::min(seconds, 1e8), "timeout");
             return unlocked(core, [&](TensorCache& cache) { return cache.flush(time); });
           })
      .def("size", [](const CoreCache& core) { return unlocked(core, [](TensorCache& cache) { return cache.size(); }); })
      .def("stats", &stats);
}

}   // namespace

std::uint64_t forks() { return fork_count.load(std::memory_order_relaxed); }

PYBIND11_MODULE(_core, module) {
  pthread_atfork(nullptr, nullptr, [] { fork_count.fetch_add(1, std::memory_order_relaxed); });
  py::class_<Digest>(module, "Digest")
      .def("__hash__", [](const Digest& digest) { return std::hash<Key>{}(digest.key); })
      .def("__eq__", [](const Digest& a, const Digest& b) { return a.key == b.key; })
      .def("hex", [](const Digest& digest) { return digest.key.hex(); });
  py::class_<Lease>(module, "Lease").def("held", [](const Lease& lease) { return static_cast<bool>(lease); }).def("release", &Lease::release);
  py::class_<Pin>(module, "Hit")
      .def_property_readonly("version", [](const Pin& pin) { return pin.hit.version(); })
      .def_property_readonly("stale", [](const Pin& pin) { return pin.hit.stale(); })
      .def_property_readonly("negative", [](const Pin& pin) { return pin.hit.negative(); })
      .def_property_readonly("age", [](const Pin& pin) { return static_cast<double>(pin.hit.age().count()) / 1000; })
      .def("value", [](const Pin& pin, const py::object& build) { return assembled(pin.hit, build); })
      .def("parts", [](const Pin& pin, bool writable) { return parts_of(pin.hit, writable); });
  define_cache(module);
  module.def("digest", [](py::handle key) { return Digest{digest_of(key)}; });
  module.def("parse_size", &size_of_text);
  module.def("format_size", &format_size);
}

}   // namespace tensorcache::python
