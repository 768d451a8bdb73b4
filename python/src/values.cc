#include <array>
#include <bit>

#include "core.h"

namespace tensorcache::python {
namespace {

// NumPy's names, at the places of DType; null: no array of NumPy's.
constexpr std::array<const char*, kDTypeCount> kNumpyNames = {"uint8",  "uint8",   "bool",    "int8",      "int16",     "int32",
                                                              "int64",  "uint8",   "uint16",  "uint32",    "uint64",    "float16",
                                                              "uint16", "float32", "float64", "complex64", "complex128"};

const py::dtype& numpy_type(DType dtype) {
  // Made once, and never given back: they outlive the interpreter's end.
  static const auto* const types = [] {
    auto* made = new std::array<py::dtype, kDTypeCount>();
    for (std::size_t i = 0; i < kDTypeCount; ++i) (*made)[i] = py::dtype(kNumpyNames[i]);
    return made;
  }();
  return (*types)[static_cast<std::size_t>(dtype)];
}

DType dtype_from(const py::array& array) {
  const py::dtype type = array.dtype();
  const char kind = type.kind(), order = type.byteorder();
  const std::size_t size = static_cast<std::size_t>(type.itemsize());
  if (order == '>') {
    throw py::type_error("an array in foreign byte order cannot be stored; use array.astype(array.dtype.newbyteorder('='))");
  }
  const auto sized = [&](DType first, std::size_t smallest) {
    return static_cast<DType>(static_cast<int>(first) + std::countr_zero(size / smallest));
  };
  if (kind == 'b') return DType::kBool;
  if (kind == 'i') return sized(DType::kInt8, 1);
  if (kind == 'u') return sized(DType::kUInt8, 1);
  if (kind == 'f' && size == 2) return DType::kFloat16;
  if (kind == 'f' && size <= 8) return sized(DType::kFloat32, 4);
  if (kind == 'c' && size <= 16) return sized(DType::kComplex64, 8);
  const std::string name = py::str(type).cast<std::string>();
  if (kind == 'O') {
    throw py::type_error("an array of Python objects (dtype object) cannot be stored; convert it to a numeric dtype, e.g. array.astype(float)");
  }
  if (kind == 'M' || kind == 'm') throw py::type_error("an array of " + name + " cannot be stored; use array.view('int64')");
  throw py::type_error("an array of " + name + " cannot be stored; use an array of booleans, integers, floats of up to 64 bits or complex numbers");
}

TensorView view_of(const py::array& array) {
  TensorView view;
  view.dtype = dtype_from(array);
  const auto rank = static_cast<std::size_t>(array.ndim());
  view.shape = Axes(std::span<const std::int64_t>(array.shape(), rank));
  view.strides = view.shape;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const py::ssize_t step = array.strides(static_cast<py::ssize_t>(axis));
    if (step % array.itemsize() != 0)
      throw py::type_error("the array's elements overlap (its strides are no multiples of an element); use array.copy()");
    view.strides[axis] = step / array.itemsize();
  }
  view.data = array.data();
  return view;
}

// What keeps a value pinned as long as Python holds an array of it.
py::capsule pin_of(const Hit& hit) {
  return py::capsule(new Pin(hit), [](void* pin) { delete static_cast<Pin*>(pin); });
}

}   // namespace

Parts::Parts(const py::sequence& objects) {
  for (const py::handle object : objects) {
    holders_.push_back(py::reinterpret_borrow<py::object>(object));
    if (PyUnicode_Check(object.ptr())) {
      Py_ssize_t size = 0;
      const char* const utf8 = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
      if (utf8 == nullptr) throw py::error_already_set();
      views_.push_back(TensorView::text({utf8, static_cast<std::size_t>(size)}));
    } else if (PyBytes_Check(object.ptr())) {
      const auto* begin = reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(object.ptr()));
      views_.push_back(TensorView::bytes({begin, static_cast<std::size_t>(PyBytes_GET_SIZE(object.ptr()))}));
    } else if (PyTuple_Check(object.ptr())) {
      views_.push_back(view_of(py::cast<py::array>(py::reinterpret_borrow<py::tuple>(object)[1])));
      views_.back().dtype = DType::kBFloat16;
    } else {
      views_.push_back(view_of(py::cast<py::array>(object)));
    }
  }
}

std::size_t Parts::bytes() const {
  std::size_t sum = 0;
  for (const TensorView& view : views_) sum += view.nbytes();
  return sum;
}

py::object part_of(const Hit& hit, std::size_t part, bool writable) {
  const TensorView view = hit.tensor(part);
  const auto* characters = static_cast<const char*>(view.data);
  if (view.dtype == DType::kText) return py::str(characters, view.count());
  if (view.dtype == DType::kBytes) return py::bytes(characters, view.count());
  const py::dtype& type = numpy_type(view.dtype);
  std::array<py::ssize_t, kMaxRank> strides{};
  for (std::size_t axis = 0; axis < view.rank(); ++axis) strides[axis] = view.strides[axis] * static_cast<py::ssize_t>(dtype_bytes(view.dtype));
  py::array array(type, std::vector<py::ssize_t>(view.shape.begin(), view.shape.end()),
                  std::vector<py::ssize_t>(strides.begin(), strides.begin() + view.rank()), view.data, pin_of(hit));
  if (!writable) py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return array;
}

py::tuple parts_of(const Hit& hit, bool writable) {
  py::list parts;
  for (std::size_t i = 0; i < hit.parts(); ++i) parts.append(part_of(hit, i, writable));
  return py::make_tuple(py::str(hit.structure().data(), hit.structure().size()), parts);
}

}   // namespace tensorcache::python
