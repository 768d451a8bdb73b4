#!/usr/bin/env bash
# Installs what the end-to-end tests talk to the server with: pytest and OpenAI's Python and Node clients. Done again only
# when a list of versions changed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

mkdir -p "$DEPS_DIR"
exec 9>"$DEPS_DIR/clients.lock"; flock 9
wanted=$(cat tests/e2e/requirements.txt tests/e2e/node/package-lock.json | sha256sum)
if [ "$(cat "$DEPS_DIR/venv/clients.sha256" 2>/dev/null)" != "$wanted" ]; then
  say "installing pytest and OpenAI's Python client"
  python_tools pip install --quiet --disable-pip-version-check -r tests/e2e/requirements.txt >&2
  echo "$wanted" >"$DEPS_DIR/venv/clients.sha256"
fi
if ! cmp -s tests/e2e/node/package-lock.json tests/e2e/node/node_modules/.installed; then
  say "installing OpenAI's Node client"
  npm ci --silent --no-audit --no-fund --prefix tests/e2e/node >&2
  cp tests/e2e/node/package-lock.json tests/e2e/node/node_modules/.installed
fi
