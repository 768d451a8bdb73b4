#include <algorithm>
#include <array>
#include <bit>

#include "core.h"

namespace tensorcache::python {
namespace {

// NumPy's type names, indexed by DType; null: no NumPy type.
constexpr std::array<const char*, kDTypeCount> kNumpyNames = {"uint8",  "uint8",   "bool",    "int8",      "int16",     "int32",
                                                              "int64",  "uint8",   "uint16",  "uint32",    "uint64",    "float16",
                                                              "uint16", "float32", "float64", "complex64", "complex128"};

// Indexed by DType. Created at import and never released: they outlive the interpreter.
std::array<py::handle, kDTypeCount> numpy_types;

DType dtype_from(const py::array& array) {
  const py::dtype type = array.dtype();
  const char kind = type.kind();
  const auto size = static_cast<std::size_t>(type.itemsize());
  if (type.byteorder() == '>') {
    throw py::type_error("an array in foreign byte order cannot be stored; use array.astype(array.dtype.newbyteorder('='))");
  }
  const auto sized = [&](DType first, std::size_t smallest) {
    return static_cast<DType>(static_cast<int>(first) + std::countr_zero(size / smallest));
  };
  if (kind == 'b') return DType::kBool;
  if (kind == 'i') return sized(DType::kInt8, 1);
  if (kind == 'u') return sized(DType::kUInt8, 1);
  if (kind == 'f' && size == 2) return DType::kFloat16;
  if (kind == 'f' && (size == 4 || size == 8)) return sized(DType::kFloat32, 4);
  if (kind == 'c' && (size == 8 || size == 16)) return sized(DType::kComplex64, 8);
  const std::string name = py::str(type).cast<std::string>();
  if (kind == 'O') {
    throw py::type_error("an array of Python objects (dtype object) cannot be stored; convert it to a numeric dtype, e.g. array.astype(float)");
  }
  if (kind == 'M' || kind == 'm') throw py::type_error("an array of " + name + " cannot be stored; use array.view('int64')");
  if (name == "bfloat16") throw py::type_error("a NumPy array of bfloat16 cannot be stored; use array.view('uint16'), or a JAX or torch tensor");
  throw py::type_error("an array of " + name + " cannot be stored; use an array of booleans, integers, floats of up to 64 bits or complex numbers");
}

TensorView view_of(const py::array& array, DType dtype) {
  TensorView view;
  view.dtype = dtype;
  const auto rank = static_cast<std::size_t>(array.ndim());
  view.shape = Axes(std::span<const std::int64_t>(array.shape(), rank));
  view.strides = view.shape;
  for (std::size_t axis = 0; axis < rank; ++axis) view.strides[axis] = array.strides(static_cast<py::ssize_t>(axis)) / array.itemsize();
  view.data = array.data();
  return view;
}

// RETURNS true if the strides are multiples of the element size; not so for a field of a structured
// array, for example.
bool has_strides_of_elements(const py::array& array) {
  return std::all_of(array.strides(), array.strides() + array.ndim(), [&](py::ssize_t step) { return step % array.itemsize() == 0; });
}

// RETURNS a capsule that pins a value while Python holds an array of it.
py::capsule pin_of(const Hit& hit) {
  return py::capsule(new HeldHit(hit), [](void* pin) { delete static_cast<HeldHit*>(pin); });
}

py::object part_of(const Hit& hit, std::size_t part) {
  const TensorView view = hit.tensor(part);
  const auto* characters = static_cast<const char*>(view.data);
  if (view.dtype == DType::kText) return py::str(characters, view.count());
  if (view.dtype == DType::kBytes) return py::bytes(characters, view.count());
  std::vector<py::ssize_t> strides(view.strides.begin(), view.strides.end());
  for (py::ssize_t& step : strides) step *= static_cast<py::ssize_t>(dtype_bytes(view.dtype));
  py::array array(py::reinterpret_borrow<py::dtype>(numpy_types[static_cast<std::size_t>(view.dtype)]),
                  std::vector<py::ssize_t>(view.shape.begin(), view.shape.end()), std::move(strides), view.data, pin_of(hit));
  py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return array;
}

}   // namespace

Parts::Parts(const py::sequence& objects) {
  for (const py::handle object : objects) {
    add(py::reinterpret_borrow<py::object>(object));
    bytes_ += views_.back().nbytes();
  }
}

void Parts::add(py::object object) {
  if (PyUnicode_Check(object.ptr())) {
    Py_ssize_t size = 0;
    const char* const utf8 = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
    if (utf8 == nullptr) throw py::error_already_set();
    views_.push_back(TensorView::text({utf8, static_cast<std::size_t>(size)}));
    holders_.push_back(std::move(object));
  } else if (PyBytes_Check(object.ptr())) {
    const auto* begin = reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(object.ptr()));
    views_.push_back(TensorView::bytes({begin, static_cast<std::size_t>(PyBytes_GET_SIZE(object.ptr()))}));
    holders_.push_back(std::move(object));
  } else if (PyTuple_Check(object.ptr())) {
    add_array(py::cast<py::array>(py::reinterpret_borrow<py::tuple>(object)[1]), DType::kBFloat16);
  } else {
    const auto array = py::cast<py::array>(object);
    add_array(array, dtype_from(array));
  }
}

void Parts::add_array(py::array array, DType dtype) {
  if (!has_strides_of_elements(array)) array = py::array(array.attr("copy")());
  views_.push_back(view_of(array, dtype));
  holders_.push_back(std::move(array));
}

void require_storable(const py::array& array) { static_cast<void>(dtype_from(array)); }

py::object value_of(const Hit& hit, const py::object& build) {
  if (hit.structure().empty()) return part_of(hit, 0);
  py::list parts;
  for (std::size_t i = 0; i < hit.parts(); ++i) parts.append(part_of(hit, i));
  return build(py::str(hit.structure().data(), hit.structure().size()), parts);
}

py::array unprotected(const py::array& array) {
  py::array same(array.dtype(), std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()),
                 std::vector<py::ssize_t>(array.strides(), array.strides() + array.ndim()), array.data(), array);
  py::detail::array_proxy(same.ptr())->flags |= py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return same;
}

void prepare_values() {
  for (std::size_t i = 0; i < kDTypeCount; ++i) numpy_types[i] = py::dtype(kNumpyNames[i]).release();
}

}   // namespace tensorcache::python
