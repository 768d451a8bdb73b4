// What the Python module's files share. pybind11 objects are touched with the GIL held only.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensorcache/tensor_cache.h"

namespace tensorcache::python {

namespace py = pybind11;

// How often this process was forked. Locks and threads of before are not to be touched.
[[nodiscard]] std::uint64_t forks();

// A hit in Python's hands. In a forked child it is not let go of: the locks that takes are another process's.
struct Pin {
  explicit Pin(Hit pinned) : hit(std::move(pinned)) {}
  Pin(Pin&&) = default;
  ~Pin() {
    if (born != forks()) new Hit(std::move(hit));
  }
  Hit hit;
  std::uint64_t born = forks();
};

// keys.cc: the digest of a key as docs/format-tensor.md says. Throws TypeError or ValueError that says what may be a key.
[[nodiscard]] Key key_of(py::handle object);

// values.cc
// Parts to be stored: NumPy arrays, str, bytes, or tuples ("bfloat16", array of uint16). Borrows their memory, and keeps the objects.
class Parts {
 public:
  explicit Parts(const py::sequence& objects);
  [[nodiscard]] const std::vector<TensorView>& views() const { return views_; }
  [[nodiscard]] std::size_t bytes() const;

 private:
  std::vector<TensorView> views_;
  std::vector<py::object> holders_;
};
// A part as Python gets it: str, bytes (a copy), or a read-only array without a copy that keeps the value pinned. bfloat16 comes as uint16.
// `writable`: the array says that it may be written, for libraries that know no read-only memory. It must not be.
[[nodiscard]] py::object part_of(const Hit& hit, std::size_t part, bool writable = false);
// The structure as text, and all parts.
[[nodiscard]] py::tuple parts_of(const Hit& hit, bool writable = false);

}   // namespace tensorcache::python
