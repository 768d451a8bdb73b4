#!/usr/bin/env bash
# Clang's thread-safety analysis over our own code, without building it: scripts/thread_safety.sh [FOLDER...], by default src.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
compiler=${CLANGXX:-$(command -v clang++-19 || command -v clang++)} || { echo "clang++ is missing (Debian: clang-19)" >&2; exit 1; }
[ $# -gt 0 ] || set -- src
# Files that name a lock with annotations, or a header that does: the others have nothing to check.
mapfile -t headers < <(grep -rlE 'TC_(GUARDED_BY|REQUIRES|EXCLUDES)|base/core/mutex\.h' --include=*.h src)
pattern=$(printf '%s\n' base/core/mutex.h "${headers[@]#src/}" | sort -u | paste -sd'|' | sed 's/\./\\./g')
mapfile -t files < <(grep -rlE "#include \"($pattern)\"" --include=*.cc "$@")
printf '%s\0' "${files[@]}" | xargs -0 -r -n 1 -P "$(nproc)" \
  "$compiler" -std=c++20 -fsyntax-only -Isrc -Iinclude -Wthread-safety -Wthread-safety-beta -Werror=thread-safety -Werror=thread-safety-beta
echo "thread-safety analysis: ${#files[@]} files, nothing found"
