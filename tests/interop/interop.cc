// The C++ side of python/tests/test_interop.py: writes a store that Python reads, and reads one
// that Python wrote.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tensorcache/tensor_cache.h"

namespace {

using namespace tensorcache;

TensorCache open(const char* directory, const std::string& name = {}) {
  CacheOptions store{.capacity_bytes = 16 << 20};
  store.disk.emplace().directory = directory;
  return TensorCache({.store = store, .name = name});
}

void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::exit(1);
}

void write_store(const char* directory) {
  {
    TensorCache cache = open(directory);
    const std::vector<std::int32_t> tokens = {1, 2, 3};
    const float numbers[] = {1, 2, 3, 4, 5, 6};
    const TensorView matrix = TensorView::of(std::span<const float>(numbers), {2, 3});
    check(!!cache.add(tokens, matrix), "tokens");
    check(!!cache.add("text", TensorView::text("h\xc3\xa9llo")), "text");
    check(!!cache.add(std::as_bytes(std::span("by", 2)), TensorView::bytes(std::as_bytes(std::span("\0\1", 2)))), "bytes");
    const TensorView parts[] = {matrix, TensorView::text("label")};
    check(!!cache.add("pair", parts, R"({"t":[{"p":0},{"d":[["label",{"p":1}],["n",{"i":"7"}]]}]})"), "pair");
    check(!!cache.add("tagged", TensorView::text("x"), {.tags = {"python"}}), "tagged");
    check(!!cache.add("invalid", TensorView::text("x"), {.tags = {"c++"}}), "invalid");
    check(cache.invalidate("c++") && cache.flush(std::chrono::seconds(20)), "flush");
  }
  TensorCache named = open(directory, "named");
  check(!!named.add("k", TensorView::text("of the named one")), "named");
  check(named.flush(std::chrono::seconds(20)), "flush");
}

void read_store(const char* directory) {
  {
    TensorCache cache = open(directory);
    const Hit matrix = cache.get(std::vector<std::int64_t>{4, 5, 6});
    check(matrix && matrix.tensor().dtype == DType::kFloat64 && matrix.tensor().shape == Axes{2, 2}, "the matrix's type and shape");
    check(matrix.tensor().elements<double>()[3] == 4.5, "the matrix's elements");
    const Hit text = cache.get("text");
    check(text && text.tensor().dtype == DType::kText && text.tensor().characters() == "h\xc3\xa9llo", "text");
    const Hit bytes = cache.get(std::as_bytes(std::span("by", 2)));
    check(bytes && bytes.tensor().dtype == DType::kBytes && bytes.tensor().characters() == std::string_view("\0\1", 2), "bytes");
    const Hit pair = cache.get("pair");
    check(pair && pair.parts() == 2 && pair.structure() == R"({"t":[{"p":0},{"d":[["label",{"p":1}],["n",{"i":"7"}]]}]})", "the pair's structure");
    check(pair.tensor(0).elements<std::int16_t>()[1] == 2 && pair.tensor(1).characters() == "label", "the pair's parts");
    check(cache.get("columns").tensor().strides == Axes{1, 2}, "strides");
    check(!cache.get("invalid") && !!cache.get("tagged"), "tags");
    check(cache.get("nothing").negative(), "nothing");
  }
  TensorCache named = open(directory, "named");
  check(named.get("k") && !named.get("text"), "the named one");
}

}   // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  if (std::string_view(argv[1]) == "write") {
    write_store(argv[2]);
  } else {
    read_store(argv[2]);
  }
}
