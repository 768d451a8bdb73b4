#!/usr/bin/env bash
# Installs the Debian packages of the given groups (scripts/packages.txt) that are missing. Says nothing if none is.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

missing=()
while read -r group package command; do
  [[ " $* " == *" $group "* ]] || continue
  if [ -n "$command" ] && command -v "$command" >/dev/null; then continue; fi
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done < <(grep -v -E '^(#|$)' scripts/packages.txt)
[ ${#missing[@]} -gt 0 ] || exit 0

say "these Debian packages are missing: ${missing[*]}"
[ -z "${TENSORCACHE_NO_INSTALL:-}" ] || die "TENSORCACHE_NO_INSTALL is set; please install them"
command -v apt-get >/dev/null || die "there is no apt-get here; please install what they hold by your system's own means"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die "installing them takes root, and there is no sudo; as root: apt-get install ${missing[*]}"
  as_root=(sudo)
fi
log=$(mktemp)
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@" >>"$log" 2>&1
}
say "installing them${as_root:+ with sudo} (a minute or two)"
if ! { install update && install install -y --no-install-recommends "${missing[@]}"; }; then
  tail -n 20 "$log" >&2
  die "apt-get failed; its whole output is in $log"
fi
rm -f "$log"
