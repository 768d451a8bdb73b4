// Shared by the Python module's files. pybind11 objects are used only with the GIL held.
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

// For smaller sizes, hashing or copying is not worth releasing the GIL.
inline constexpr std::size_t kLongBytes = 64 << 10;

// Releases the GIL while it lives, if `long_work`.
struct Unlocked {
  explicit Unlocked(bool long_work) {
    if (long_work) release.emplace();
  }
  std::optional<py::gil_scoped_release> release;
};

// RETURNS the number of forks of this process. Locks and threads from before a fork must not be
// used.
[[nodiscard]] std::uint64_t forks();
// Starts counting forks.
void watch_forks();

// A hit or lease owned by Python. Not released in a forked child: that would take locks of the
// parent's threads.
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

// keys.cc: RETURNS the digest of a key (docs/format-tensor.md). Throws TypeError or ValueError that
// says which keys are valid.
[[nodiscard]] Key key_of(py::handle object);
// Initialises key_of(), once, at import.
void prepare_keys();

// values.cc
// Parts to store: NumPy arrays, str, bytes, or tuples ("bfloat16", array of uint16). Borrows their
// memory and keeps the objects alive.
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
// Throws a TypeError if the array's dtype cannot be stored.
void require_storable(const py::array& array);
// RETURNS a value as Python objects. A part is str, bytes (a copy), or a read-only array without a
// copy that pins the value; bfloat16 is returned as uint16. A value that is not one plain part is
// built by `build(structure, parts)`.
[[nodiscard]] py::object value_of(const Hit& hit, const py::object& build);
// RETURNS the same memory as an array marked writable, for libraries without read-only memory.
// REQUIRES: it is not written.
[[nodiscard]] py::array unprotected(const py::array& array);
// Initialises value_of(), once, at import.
void prepare_values();

}   // namespace tensorcache::python
