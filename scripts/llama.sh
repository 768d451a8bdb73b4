#!/usr/bin/env bash
# Builds the pinned llama.cpp once, outside the build tree, and prints the folder it is installed in.
#
#   scripts/llama.sh            the libraries TensorCache links (llama, llama-common)
#   scripts/llama.sh --server   the same, and llama-server, which `./dev bench` compares with
#   scripts/llama.sh --source   builds nothing and prints the source folder
#
# LLAMA_CPP_SOURCE=DIR builds a source folder of yours instead of the pinned one.
# The folder's name carries the version, the compiler and this processor's features: native code is never
# taken from one machine to another.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

readonly kPackage=llama-cpp-python kVersion=0.3.36   # carries llama.cpp v0.5.0 under vendor/llama.cpp
want_server=no
[ "${1:-}" = --server ] && want_server=yes

processor_flags() { grep -m1 -E '^(flags|Features)' /proc/cpuinfo; grep -m1 'model name' /proc/cpuinfo; }

# Some machines advertise AMX and kill the process at its first tile instruction.
amx_flags() {
  local probe
  probe=$(mktemp -d)
  cat >"$probe/amx.c" <<'C'
#include <unistd.h>
#include <sys/syscall.h>
#ifdef __AMX_TILE__
#include <immintrin.h>
int main(void) { if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return 1; _tile_release(); return 0; }
#else
int main(void) { return 0; }
#endif
C
  if ! cc -march=native -o "$probe/amx" "$probe/amx.c" 2>/dev/null || ! "$probe/amx" 2>/dev/null; then
    echo "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
  fi
  rm -rf "$probe"
}

fetch_source() {   # prints the source folder
  if [ -n "${LLAMA_CPP_SOURCE:-}" ]; then
    [ -f "$LLAMA_CPP_SOURCE/include/llama.h" ] || die "LLAMA_CPP_SOURCE=$LLAMA_CPP_SOURCE has no include/llama.h"
    (cd "$LLAMA_CPP_SOURCE" && pwd); return
  fi
  local source="$DEPS_DIR/llama-src-$kVersion"
  if [ ! -f "$source/.complete" ]; then
    say "downloading llama.cpp (Python source package $kPackage $kVersion, 77 MB)"
    local work; work=$(mktemp -d "$DEPS_DIR/fetch.XXXXXX")
    python_tools pip download --quiet --no-deps --no-binary "$kPackage" -d "$work" "$kPackage==$kVersion" >&2 ||
      die "could not download $kPackage==$kVersion with pip"
    mkdir "$work/tree"
    tar xzf "$work"/*.tar.gz -C "$work/tree" --strip-components=3 --wildcards '*/vendor/llama.cpp/*'
    touch "$work/tree/.complete"
    rm -rf "$source"; mv "$work/tree" "$source"; rm -rf "$work"
  fi
  echo "$source"
}

main() {
  mkdir -p "$DEPS_DIR"
  local source extra identity prefix build
  source=$(fetch_source)
  if [ "$1" = --source ]; then echo "$source"; return; fi
  extra=$(amx_flags)
  identity=$( { echo "$source $extra${LLAMA_CMAKE_ARGS:+ $LLAMA_CMAKE_ARGS}"; cc --version | head -1; processor_flags; } | sha256sum | cut -c1-12)
  prefix="$DEPS_DIR/llama-$identity"
  build="$prefix/build"
  exec 9>"$DEPS_DIR/llama-$identity.lock"; flock 9   # two builds at once wait for each other

  if [ ! -f "$prefix/.libraries" ]; then
    say "building llama.cpp for this processor (once; about 5 minutes on two cores)"
    cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" \
      -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DGGML_NATIVE=ON -DGGML_CCACHE=OFF \
      -DCMAKE_C_FLAGS="$extra" -DCMAKE_CXX_FLAGS="$extra" -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_TOOLS=ON \
      -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF \
      -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_TOOLS_INSTALL=OFF \
      ${LLAMA_CMAKE_ARGS:-} >"$prefix.configure.log" 2>&1 || { tail -n 30 "$prefix.configure.log" >&2; die "llama.cpp did not configure"; }
    build_with_progress "$build" llama llama-common ggml
    mkdir -p "$prefix/lib" "$prefix/include/llama-common" "$prefix/include/nlohmann"
    find "$build" -name '*.a' -exec cp -f {} "$prefix/lib/" \;
    cp -f "$source"/include/*.h "$source"/ggml/include/*.h "$prefix/include/"
    cp -f "$source"/common/*.h "$prefix/include/llama-common/"
    cp -rf "$source"/common/jinja "$prefix/include/llama-common/"
    cp -f "$source"/vendor/nlohmann/*.hpp "$prefix/include/nlohmann/"
    cp -f "$source"/LICENSE "$prefix/"
    touch "$prefix/.libraries"
  fi
  if [ ! -f "$prefix/include/llama-internal/ggml-backend-impl.h" ]; then   # for kv_transfer.cc and context_memory.cc
    local headers="$prefix/include/llama-internal.$$"
    mkdir -p "$headers"; cp -f "$source"/src/*.h "$source"/ggml/src/ggml-backend-impl.h "$headers/"
    rm -rf "$prefix/include/llama-internal"; mv -T "$headers" "$prefix/include/llama-internal"
  fi
  if [ $want_server = yes ] && [ ! -x "$prefix/bin/llama-server" ]; then
    say "building llama-server, which the benchmarks compare with (once; about 5 minutes)"
    build_with_progress "$build" llama-server
    mkdir -p "$prefix/bin"; cp -f "$build/bin/llama-server" "$prefix/bin/"
  fi
  echo "$prefix"
}
main "${1:-}"
