#include <cmath>

#include "core.h"
#include "tensor/key_encoder.h"

namespace tensorcache::python {
namespace {

constexpr int kMostDepth = 64;
constexpr const char* kAllowed = "a key may be bytes, str, int, float, bool, None, a NumPy integer array, or a tuple of those";

void add(tensor::KeyEncoder& encoder, py::handle object, int depth);

void add_integer(tensor::KeyEncoder& encoder, PyObject* object) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (overflow == 0) return encoder.integer(value);
  const auto number = py::reinterpret_borrow<py::int_>(object);
  const auto bits = number.attr("bit_length")().cast<std::size_t>();
  encoder.big_integer(number.attr("to_bytes")(bits / 8 + 1, "little", py::arg("signed") = true).cast<std::string>());
}

// Whether every item is a plain integer of 64 bits; adds them as tokens then.
bool add_tokens(tensor::KeyEncoder& encoder, PyObject* tuple) {
  const Py_ssize_t count = PyTuple_GET_SIZE(tuple);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* const item = PyTuple_GET_ITEM(tuple, i);
    if (PyBool_Check(item)) return false;
    int overflow = 0;
    if (PyLong_Check(item)) {
      tokens[static_cast<std::size_t>(i)] = PyLong_AsLongLongAndOverflow(item, &overflow);
    } else if (PyIndex_Check(item) && !PyObject_CheckBuffer(item) && !py::hasattr(item, "__len__")) {
      return false;
    } else if (PyIndex_Check(item)) {   // a NumPy integer, or a tensor with one element, as tuple(tensor) gives them
      const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(item));
      if (!number) {   // an array with more
        PyErr_Clear();
        return false;
      }
      tokens[static_cast<std::size_t>(i)] = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    } else {
      return false;
    }
    if (overflow != 0) return false;
  }
  encoder.tokens(std::span<const std::int64_t>(tokens));
  return true;
}

void add_array(tensor::KeyEncoder& encoder, const py::array& array) {
  const char kind = array.dtype().kind();
  if (kind != 'i' && kind != 'u') {
    throw py::type_error("an array of " + py::str(array.dtype()).cast<std::string>() + " cannot be a key, only one of integers; " + kAllowed);
  }
  if (kind == 'u' && array.itemsize() == 8 && array.size() > 0 &&
      py::module_::import("numpy").attr("max")(array).cast<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    throw py::value_error("an array with integers of more than 63 bits cannot be a key; use a tuple of ints");
  }
  const auto numbers = py::array_t < std::int64_t, py::array::c_style | py::array::forcecast > (array);
  const std::span<const std::int64_t> values(numbers.data(), static_cast<std::size_t>(numbers.size()));
  if (numbers.ndim() == 1) return encoder.tokens(values);
  encoder.begin_array(static_cast<std::uint64_t>(numbers.ndim()));
  for (py::ssize_t axis = 0; axis < numbers.ndim(); ++axis) encoder.word(numbers.shape(axis));
  for (const std::int64_t value : values) encoder.word(value);
}

void add_tuple(tensor::KeyEncoder& encoder, PyObject* tuple, int depth) {
  if (depth >= kMostDepth) throw py::value_error("the key is a tuple nested deeper than " + std::to_string(kMostDepth) + "; flatten it");
  if (add_tokens(encoder, tuple)) return;
  const Py_ssize_t count = PyTuple_GET_SIZE(tuple);
  encoder.begin_tuple(static_cast<std::uint64_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) add(encoder, PyTuple_GET_ITEM(tuple, i), depth + 1);
}

void add(tensor::KeyEncoder& encoder, py::handle object, int depth) {
  PyObject* const raw = object.ptr();
  if (PyUnicode_Check(raw)) {
    Py_ssize_t size = 0;
    const char* const utf8 = PyUnicode_AsUTF8AndSize(raw, &size);
    if (utf8 == nullptr) throw py::error_already_set();
    encoder.text({utf8, static_cast<std::size_t>(size)});
  } else if (PyBytes_Check(raw)) {
    encoder.bytes({PyBytes_AS_STRING(raw), static_cast<std::size_t>(PyBytes_GET_SIZE(raw))});
  } else if (PyTuple_Check(raw)) {
    add_tuple(encoder, raw, depth);
  } else if (PyBool_Check(raw)) {
    encoder.boolean(raw == Py_True);
  } else if (PyLong_Check(raw)) {
    add_integer(encoder, raw);
  } else if (raw == Py_None) {
    encoder.none();
  } else if (PyFloat_Check(raw)) {
    const double value = PyFloat_AS_DOUBLE(raw);
    if (std::isnan(value)) throw py::value_error("NaN cannot be a key: it is not even equal to itself");
    encoder.real(value);
  } else if (py::isinstance<py::array>(object)) {
    add_array(encoder, py::reinterpret_borrow<py::array>(object));
  } else if (PyIndex_Check(raw) && !py::hasattr(object, "__dlpack__")) {   // a NumPy integer
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(raw));
    if (!number) throw py::error_already_set();
    add_integer(encoder, number.ptr());
  } else if (py::hasattr(object, "__dlpack__") && py::hasattr(object, "__array__")) {   // torch, JAX
    add_array(encoder, py::array(object.attr("__array__")()));
  } else if (PyList_Check(raw)) {
    throw py::type_error(std::string("a list cannot be a key; use tuple(key). ") + kAllowed);
  } else {
    throw py::type_error(std::string("a key cannot be of type ") + Py_TYPE(raw)->tp_name + "; " + kAllowed);
  }
}

}   // namespace

Key key_of(py::handle object) {
  tensor::KeyEncoder encoder;
  add(encoder, object, 0);
  return encoder.key();
}

}   // namespace tensorcache::python
