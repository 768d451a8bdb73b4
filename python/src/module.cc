// tensorcache._core: the low-level module; python/tensorcache/ builds the API on it.
#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "base/core/units.h"
#include "core.h"
#include "core_cache.h"

namespace tensorcache::python {
namespace {

std::chrono::milliseconds milliseconds(double seconds, const char* name) {
  if (!(seconds >= 0)) throw py::value_error(std::string(name) + " must be a number of seconds, 0 or more");
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(seconds, 1e12) * 1000 + 0.5));
}

// Options of a write as a tuple: (ttl, stale, tags, cost, as_of), times in seconds.
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

// A key's digest, computed once for several calls.
struct Digest {
  Key key;
};

Key digest_of(py::handle object) {
  if (py::isinstance<Digest>(object)) return object.cast<const Digest&>().key;
  return key_of(object);
}

// RETURNS the value, or `otherwise`. A lookup in memory only is faster than releasing the GIL.
py::object get(const CoreCache& core, py::handle key, const py::object& build, const py::object& otherwise) {
  const Key digest = digest_of(key);
  const Hit hit = core.call(core.has_disk(), [&](TensorCache& cache) { return cache.get(digest); });
  return hit ? value_of(hit, build) : otherwise;
}

// RETURNS the hit, or None. `look`: TensorCache's get, probe or peek.
template <Hit (TensorCache::*look)(const ItemKey&)>
py::object lookup(const CoreCache& core, py::handle key) {
  const Key digest = digest_of(key);
  Hit hit = core.call(core.has_disk(), [&](TensorCache& cache) { return (cache.*look)(digest); });
  if (hit.version() == 0) return py::none();
  return py::cast(HeldHit(std::move(hit)));
}

bool contains(const CoreCache& core, py::handle key) {
  const Key digest = digest_of(key);
  return core.call(core.has_disk(), [&](TensorCache& cache) { return cache.contains(digest); });
}

// A ValueError of its own, so that get_or_compute can distinguish it from an invalid argument.
struct TooLarge : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

WriteResult checked(const WriteResult& result, std::size_t bytes) {
  if (result.status == WriteStatus::kTooLarge) {
    throw TooLarge("a value of " + format_size(bytes) + " is larger than the whole cache; increase its memory, or cache a smaller part");
  }
  if (result.status == WriteStatus::kNoSpace) {
    PyErr_SetString(PyExc_MemoryError,
                    "no space in the cache: all entries are pinned by results in use; release earlier results, or increase its memory");
    throw py::error_already_set();
  }
  if (result.status == WriteStatus::kUnavailable) {
    PyErr_SetString(PyExc_OSError,
                    "the stored value cannot be read now, so its version is unknown: the disk failed, or all memory is pinned by results in use");
    throw py::error_already_set();
  }
  return result;
}

// Calls `call(cache, parts, options)`, with the GIL only if it is short.
template <class Call>
WriteResult write(const CoreCache& core, const py::sequence& objects, const py::tuple& options, const Call& call) {
  const Parts parts(objects);
  const AddOptions add_options = options_of(options);
  const auto store = [&](TensorCache& cache) { return call(cache, parts.views(), add_options); };
  return checked(core.call(parts.bytes() >= kLongBytes, store), parts.bytes());
}

std::uint64_t add(const CoreCache& core, py::handle key, const py::sequence& objects, const std::string& structure, const py::tuple& options) {
  const Key digest = digest_of(key);
  return write(core, objects, options, [&](auto& cache, auto parts, const auto& how) { return cache.add(digest, parts, structure, how); }).version;
}

// RETURNS the version; 0 if the lease was lost.
std::uint64_t lease_add(const CoreCache& core, const HeldLease& lease, const py::sequence& objects, const std::string& structure,
                        const py::tuple& options) {
  const WriteResult result =
      write(core, objects, options, [&](auto& cache, auto parts, const auto& how) { return cache.add(lease.value, parts, structure, how); });
  return result.status == WriteStatus::kLeaseLost ? 0 : result.version;
}

// RETURNS (stored, version that is stored now).
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
  const auto [from, entries] = core.call([](TensorCache& cache) { return std::pair(cache.stats(), cache.size()); });
  py::dict to;
  to["entries"] = entries;
  to["used_bytes"] = from.store.used_bytes;
  to["capacity_bytes"] = from.store.capacity_bytes;
  to["peak_bytes"] = from.store.peak_bytes;
  const CoreCache::Counts& more = core.counts();
  to["hits"] = static_cast<std::int64_t>(from.hits) + more.hits;
  to["stale_hits"] = from.stale_hits;
  to["negative_hits"] = from.negative_hits;
  to["misses"] = static_cast<std::int64_t>(from.misses) + more.misses;
  to["waits"] = more.waits;
  to["computations"] = more.computations;
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
  if (!parsed) throw py::value_error(parsed.error());
  return *parsed;
}

void add_negative(const CoreCache& core, py::handle key, const py::tuple& options) {
  const Key digest = digest_of(key);
  const AddOptions add_options = options_of(options);
  static_cast<void>(checked(core.call(false, [&](TensorCache& cache) { return cache.add_negative(digest, add_options); }), 0));
}

bool remove(const CoreCache& core, py::handle key) {
  const Key digest = digest_of(key);
  return core.call([&](TensorCache& cache) { return cache.remove(digest); });
}

std::unique_ptr<HeldLease> lease(const CoreCache& core, py::handle key, double patience, double hold) {
  const Key digest = digest_of(key);
  const auto wait = milliseconds(patience, "timeout"), length = milliseconds(hold, "hold");
  Lease lease = core.call([&](TensorCache& cache) { return cache.lease(digest, wait, length); });
  return lease ? std::make_unique<HeldLease>(std::move(lease)) : nullptr;
}

bool flush(const CoreCache& core, double seconds) {
  const auto time = milliseconds(seconds, "timeout");
  return core.call([&](TensorCache& cache) { return cache.flush(time); });
}

std::unique_ptr<CoreCache> make(const py::dict& options) {
  return std::make_unique<CoreCache>(open(options), options["name"].cast<std::string>(), 0, !options["path"].is_none());
}

void define_cache(py::module_& module) {
  py::class_<CoreCache>(module, "Cache")
      .def(py::init(&make))
      .def("named", &CoreCache::named)
      .def("require_usable", &CoreCache::require_usable)
      .def("close", &CoreCache::close)
      .def_property_readonly("closed", &CoreCache::is_closed)
      .def_property_readonly("has_disk", &CoreCache::has_disk)
      .def("get", &get)
      .def("lookup", &lookup<&TensorCache::get>)
      .def("probe", &lookup<&TensorCache::probe>)
      .def("peek", &lookup<&TensorCache::peek>)
      .def(
          "count",
          [](CoreCache& core, std::int64_t hits, std::int64_t misses, std::int64_t waits, std::int64_t computations) {
            core.count({hits, misses, waits, computations});
          },
          py::kw_only(), py::arg("hits") = 0, py::arg("misses") = 0, py::arg("waits") = 0, py::arg("computations") = 0)
      .def("contains", &contains)
      .def("add", &add)
      .def("put_if_version", &put_if_version)
      .def("add_negative", &add_negative)
      .def("remove", &remove)
      .def("clear", [](const CoreCache& core) { return core.call([](TensorCache& cache) { return cache.clear(); }); })
      .def("invalidate",
           [](const CoreCache& core, const std::string& tag) { return core.call([&](TensorCache& cache) { return cache.invalidate(tag); }); })
      .def("now", [](const CoreCache& core) { return core.call(false, [](TensorCache& cache) { return cache.now(); }); })
      .def("lease", &lease)
      .def("lease_add", &lease_add)
      .def("resize", [](const CoreCache& core, std::uint64_t bytes) { core.call([&](TensorCache& cache) { cache.resize(bytes); }); })
      .def("resize_entries",
           [](const CoreCache& core, std::uint64_t entries) { core.call([&](TensorCache& cache) { cache.resize_entries(entries); }); })
      .def("flush", &flush)
      .def("size", [](const CoreCache& core) { return core.call([](TensorCache& cache) { return cache.size(); }); })
      .def("stats", &stats);
}

}   // namespace

PYBIND11_MODULE(_core, module) {
  watch_forks();
  prepare_keys();
  prepare_values();
  py::register_exception<TooLarge>(module, "TooLarge", PyExc_ValueError);
  py::class_<Digest>(module, "Digest")
      .def("__hash__", [](const Digest& digest) { return std::hash<Key>{}(digest.key); })
      .def(
          "__eq__", [](const Digest& a, const Digest& b) { return a.key == b.key; }, py::is_operator())
      .def("hex", [](const Digest& digest) { return digest.key.hex(); });
  py::class_<HeldLease>(module, "Lease")
      .def("held", [](const HeldLease& lease) { return !lease.is_foreign() && lease.value; })
      .def("release", [](HeldLease& lease) {
        if (!lease.is_foreign()) lease.value.release();
      });
  py::class_<HeldHit>(module, "Hit")
      .def_property_readonly("version", [](const HeldHit& hit) { return hit.value.version(); })
      .def_property_readonly("stale", [](const HeldHit& hit) { return hit.value.stale(); })
      .def_property_readonly("negative", [](const HeldHit& hit) { return hit.value.negative(); })
      .def_property_readonly("structure", [](const HeldHit& hit) { return std::string(hit.value.structure()); })
      .def_property_readonly("age", [](const HeldHit& hit) { return static_cast<double>(hit.value.age().count()) / 1000; })
      .def("value", [](const HeldHit& hit, const py::object& build) { return value_of(hit.value, build); });
  define_cache(module);
  module.def("digest", [](py::handle key) { return Digest{digest_of(key)}; });
  module.def("require_storable", &require_storable);
  module.def("unprotected", &unprotected);
  module.def("parse_size", &size_of_text);
  module.def("format_size", &format_size);
}

}   // namespace tensorcache::python
