#!/usr/bin/env bash
# Clang's thread-safety analysis over our own code, without building it: scripts/thread_safety.sh [FOLDER...], by default src.
# Checks the files that see base/core/mutex.h, but of tests only those that include it themselves, and none that needs llama.cpp's headers;
# clang-tidy checks all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
compiler=${CLANGXX:-$(command -v clang++-19 || command -v clang++)} || { echo "clang++ is missing (Debian: clang-19)" >&2; exit 1; }
[ $# -gt 0 ] || set -- src
headers=base/core/mutex.h   # those that see it, as a pattern
while true; do
  more=$({ tr '|' '\n' <<<"$headers"; grep -rlE "#include \"($headers)\"" --include=*.h src | sed 's|^src/||'; } | sort -u | paste -sd'|')
  [ "$more" != "$headers" ] || break
  headers=$more
done
mapfile -t files < <({ grep -rlE "#include \"($headers)\"" --include=*.cc "$@" | grep -v -e '_test\.cc$' -e '/llama/' || true
                       grep -rl '#include "base/core/mutex.h"' --include=*_test.cc "$@" || true; })
if [ ${#files[@]} -gt 0 ]; then
  printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" \
    "$compiler" -std=c++20 -fsyntax-only -Isrc -Iinclude -Wthread-safety -Wthread-safety-beta -Werror=thread-safety -Werror=thread-safety-beta
fi
echo "thread-safety analysis: ${#files[@]} files, nothing found"
