#!/usr/bin/env bash
# python_package.sh DIR: builds the Python package and installs it into two virtual environments under DIR, with what its tests need.
#   DIR/clean   nothing but what `pip install .`, the tests, the examples and the benchmark bring
#   DIR/debian  on top of Debian's own packages, of which python3-torch is one
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

dir=$1
python=/usr/bin/python3   # Debian's: both environments and the wheel are of one version
pip() { local venv=$1; shift; "$dir/$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

mkdir -p "$dir"
exec 9>"$dir/lock"; flock 9
[ -x "$dir/clean/bin/python" ] || "$python" -m venv "$dir/clean"
[ -x "$dir/debian/bin/python" ] || "$python" -m venv --system-site-packages "$dir/debian"
rm -rf "$dir/wheel"
say "pip wheel ."
pip clean wheel --no-deps --wheel-dir "$dir/wheel" . >&2
for venv in clean debian; do
  pip $venv install --force-reinstall --no-deps "$dir"/wheel/tensorcache-*.whl
  pip $venv install "$dir"/wheel/tensorcache-*.whl -r python/tests/requirements.txt
done
pip clean install -r examples/requirements.txt -r bench/requirements.txt -r python/tests/requirements-jax.txt
