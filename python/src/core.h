// What the Python module's files share. pybind11 objects are touched with the GIL held only.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tensorcache/tensor_cache.h"

namespace tensorcache::python {

namespace py = pybind11;

// Hashing or copying less than this is not worth letting go of the GIL.
inline constexpr std::size_t kLongBytes = 64 << 10;

// Lets go of the GIL as long as it lives, where `long_work`.
struct Unlocked {
  explicit Unlocked(bool long_work) {
    if (long_work) release.emplace();
  }
  std::optional<py::gil_scoped_release> release;
};

// How often this process was forked. Locks and threads of before are not to be touched.
[[nodiscard]] std::uint64_t forks();
// Counts forks from here on.
void watch_forks();

// A hit or a lease in Python's hands. In a forked child it is not let go of: the locks that takes are another process's.
template <class T>
struct Held {
  explicit Held(T given) : value(std::move(given)) {}
  Held(Held&&) = default;
  ~Held() {
    if (is_foreign()) new T(std::move(value));
  }
  [[nodiscard]] bool is_foreign() const { return born != forks(); }
  T value;
  std::uint64_t born = forks();
};
using HeldHit = Held<Hit>;
using HeldLease = Held<Lease>;

// keys.cc: the digest of a key as docs/format-tensor.md says. Throws TypeError or ValueError that says what may be a key.
[[nodiscard]] Key key_of(py::handle object);
// Makes what key_of() needs, once, at import.
void prepare_keys();

// values.cc
// Parts to be stored: NumPy arrays, str, bytes, or tuples ("bfloat16", array of uint16). Borrows their memory, and keeps the objects.
class Parts {
 public:
  explicit Parts(const py::sequence& objects);
  [[nodiscard]] const std::vector<TensorView>& views() const { return views_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  void add(py::object object);
  void add_array(py::array array, DType dtype);
  std::vector<TensorView> views_;
  std::vector<py::object> holders_;
  std::size_t bytes_ = 0;
};
// Throws the TypeError that an array's dtype deserves.
void require_storable(const py::array& array);
// A value as Python gets it. A part is str, bytes (a copy), or a read-only array without a copy that keeps the value pinned; bfloat16 comes
// as uint16. A value that is more than one plain part is `build(structure, parts)`.
[[nodiscard]] py::object value_of(const Hit& hit, const py::object& build);
// The same memory as an array that says it may be written, for a library that knows no read-only memory. It must not be.
[[nodiscard]] py::array unprotected(const py::array& array);
// Makes what value_of() needs, once, at import.
void prepare_values();

}   // namespace tensorcache::python
