#include <cmath>
#include <span>
#include <string>

#include "core.h"
#include "library/tensor/key_encoder.h"

namespace tensorcache::python {
namespace {

constexpr int kMaxDepth = 64;
constexpr const char* kAllowed = "A key may be bytes, str, int, float, bool, None, a NumPy integer array, or a tuple of those";

// NumPy's types. Imported once and never released: they outlive the interpreter.
struct NumpyTypes {
  py::handle array, memmap, integer, boolean, real;
} numpy;

class KeyMaker {
 public:
  void add(py::handle object, int depth);
  [[nodiscard]] Key key() const {
    const Unlocked unlocked(long_bytes_ >= kLongBytes);
    return encoder_.key();
  }

 private:
  // RETURNS an integer as an int, or null. Integers: int, objects with __index__, and 0-d integer
  // arrays or tensors, which are the items of tuple(tensor). Booleans are not integers.
  py::object integer_in(py::handle object);
  bool holds_truth(py::handle tensor);
  void add_integer(py::handle number);
  void add_array(const py::array& array);
  void add_tuple(py::handle tuple, int depth);
  bool add_tokens(py::handle tuple);

  tensor::KeyEncoder encoder_;
  std::size_t long_bytes_ = 0;   // bytes of text, bytes, tokens and arrays
  py::object integer_type_;      // the last tensor dtype that was found not to be boolean
};

bool KeyMaker::holds_truth(py::handle tensor) {
  py::object type = py::getattr(tensor, "dtype", py::none());
  if (type.is(integer_type_)) return false;
  if (py::str(type).cast<std::string>().find("bool") != std::string::npos) return true;
  integer_type_ = std::move(type);
  return false;
}

py::object KeyMaker::integer_in(py::handle object) {
  PyObject* const raw = object.ptr();
  if (PyBool_Check(raw)) return {};
  if (PyLong_Check(raw)) return py::reinterpret_borrow<py::object>(object);
  if (!PyIndex_Check(raw)) return {};
  const bool tensor = !py::isinstance(object, numpy.integer) && py::hasattr(object, "ndim");
  if (tensor && (object.attr("ndim").cast<int>() != 0 || holds_truth(object))) return {};
  auto number = py::reinterpret_steal<py::object>(PyNumber_Index(raw));
  if (number) return number;
  if (!tensor) throw py::error_already_set();
  PyErr_Clear();   // a float
  return {};
}

void KeyMaker::add_integer(py::handle number) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow == 0) return encoder_.integer(value);
  const auto bits = number.attr("bit_length")().cast<std::size_t>();
  encoder_.big_integer(number.attr("to_bytes")(bits / 8 + 1, "little", py::arg("signed") = true).cast<std::string>());
}

// RETURNS true if every item is a 64-bit integer, and adds them as tokens.
bool KeyMaker::add_tokens(py::handle tuple) {
  const Py_ssize_t count = PyTuple_GET_SIZE(tuple.ptr());
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    const py::object number = integer_in(PyTuple_GET_ITEM(tuple.ptr(), i));
    if (!number) return false;
    int overflow = 0;
    tokens[static_cast<std::size_t>(i)] = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    if (overflow != 0) return false;
  }
  long_bytes_ += tokens.size() * sizeof(std::int64_t);
  encoder_.tokens(std::span<const std::int64_t>(tokens));
  return true;
}

// Adds an integer array with at least one axis.
void KeyMaker::add_array(const py::array& array) {
  const py::type type = py::type::of(array);
  if (!type.is(numpy.array) && !type.is(numpy.memmap)) {
    throw py::type_error("a key cannot be an array of type " + type.attr("__name__").cast<std::string>() + "; use numpy.asarray(key). " + kAllowed);
  }
  const char kind = array.dtype().kind();
  if (kind != 'i' && kind != 'u') {
    throw py::type_error("a key cannot be an array of " + py::str(array.dtype()).cast<std::string>() + ", only one of integers. " + kAllowed);
  }
  if (kind == 'u' && array.itemsize() == 8 && array.size() > 0 &&
      py::module_::import("numpy").attr("max")(array).cast<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    throw py::value_error("a key cannot be an array with integers of more than 63 bits; use a tuple of ints");
  }
  const auto numbers = py::array_t < std::int64_t, py::array::c_style | py::array::forcecast > (array);
  const std::span<const std::int64_t> values(numbers.data(), static_cast<std::size_t>(numbers.size()));
  long_bytes_ += values.size_bytes();
  if (numbers.ndim() == 1) return encoder_.tokens(values);
  encoder_.begin_array(static_cast<std::uint64_t>(numbers.ndim()));
  for (py::ssize_t axis = 0; axis < numbers.ndim(); ++axis) encoder_.word(numbers.shape(axis));
  for (const std::int64_t value : values) encoder_.word(value);
}

void KeyMaker::add_tuple(py::handle tuple, int depth) {
  if (depth >= kMaxDepth) throw py::value_error("the key is a tuple nested deeper than " + std::to_string(kMaxDepth) + "; flatten it");
  if (add_tokens(tuple)) return;
  const Py_ssize_t count = PyTuple_GET_SIZE(tuple.ptr());
  encoder_.begin_tuple(static_cast<std::uint64_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) add(PyTuple_GET_ITEM(tuple.ptr(), i), depth + 1);
}

[[noreturn]] void refuse(py::handle object) {
  const std::string type = Py_TYPE(object.ptr())->tp_name;
  std::string advice;
  if (PyList_Check(object.ptr())) advice = "use tuple(key). ";
  if (py::isinstance(object, numpy.real)) advice = "use float(key). ";
  if (PyByteArray_Check(object.ptr()) || PyMemoryView_Check(object.ptr())) advice = "use bytes(key). ";
  throw py::type_error("a key cannot be of type " + type + "; " + advice + kAllowed);
}

void KeyMaker::add(py::handle object, int depth) {
  PyObject* const raw = object.ptr();
  if (PyUnicode_Check(raw)) {
    Py_ssize_t size = 0;
    const char* const utf8 = PyUnicode_AsUTF8AndSize(raw, &size);
    if (utf8 == nullptr) throw py::error_already_set();
    long_bytes_ += static_cast<std::size_t>(size);
    encoder_.text({utf8, static_cast<std::size_t>(size)});
  } else if (PyBytes_Check(raw)) {
    long_bytes_ += static_cast<std::size_t>(PyBytes_GET_SIZE(raw));
    encoder_.bytes({PyBytes_AS_STRING(raw), static_cast<std::size_t>(PyBytes_GET_SIZE(raw))});
  } else if (PyTuple_Check(raw)) {
    add_tuple(object, depth);
  } else if (PyBool_Check(raw)) {
    encoder_.boolean(raw == Py_True);
  } else if (raw == Py_None) {
    encoder_.none();
  } else if (PyFloat_Check(raw)) {
    const double value = PyFloat_AS_DOUBLE(raw);
    if (std::isnan(value)) throw py::value_error("NaN cannot be a key: it is not equal to itself");
    encoder_.real(value);
  } else if (const py::object number = integer_in(object)) {
    add_integer(number);
  } else if (py::isinstance(object, numpy.boolean)) {
    encoder_.boolean(PyObject_IsTrue(raw) == 1);
  } else if (py::isinstance<py::array>(object)) {
    add_array(py::reinterpret_borrow<py::array>(object));
  } else if (py::hasattr(object, "__dlpack__") && py::hasattr(object, "__array__")) {   // torch, JAX
    add_array(py::array(object.attr("__array__")()));
  } else {
    refuse(object);
  }
}

}   // namespace

void prepare_keys() {
  const auto module = py::module_::import("numpy");
  const auto member = [&](const char* name) { return py::object(module.attr(name)).release(); };
  numpy = {member("ndarray"), member("memmap"), member("integer"), member("bool_"), member("floating")};
}

Key key_of(py::handle object) {
  KeyMaker maker;
  maker.add(object, 0);
  return maker.key();
}

}   // namespace tensorcache::python
