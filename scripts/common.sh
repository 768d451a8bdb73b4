# Shared by ./dev and scripts/: where downloads live, and how progress is shown. Sourced, not run.

# Everything that is done once lives here, outside the build tree. TENSORCACHE_DEPS moves it.
DEPS_DIR=${TENSORCACHE_DEPS:-${XDG_CACHE_HOME:-$HOME/.cache}/tensorcache-dev}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a tool (pip, python, ...) of a private virtual environment, made at first use.
python_tools() {
  local venv="$DEPS_DIR/venv"
  if [ ! -x "$venv/bin/pip" ]; then
    mkdir -p "$DEPS_DIR"
    python3 -m venv "$venv" || die "python3 -m venv failed (on Debian: apt-get install python3-venv)"
  fi
  local tool=$1; shift
  "$venv/bin/$tool" "$@"
}

# build_with_progress BUILD_DIR TARGET...: one line that moves on a terminal, a line every tenth elsewhere.
build_with_progress() {
  local dir=$1; shift
  local log="$dir/build.log"
  if ! NINJA_STATUS='[%f/%t] ' ninja -C "$dir" "$@" 2>&1 | tee "$log" | show_ninja_progress; then
    grep -E -m5 'error|FAILED' "$log" >&2 || true
    die "the build failed; the whole output is in $log"
  fi
}

show_ninja_progress() {
  local line last=-1 done total percent
  while IFS= read -r line; do
    [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    done=${BASH_REMATCH[1]} total=${BASH_REMATCH[2]} percent=$((100 * done / total))
    if [ -t 2 ]; then printf '\r    %d of %d (%d%%) ' "$done" "$total" "$percent" >&2
    elif [ $((percent / 10)) -ne $((last / 10)) ] || [ $last -lt 0 ]; then printf '    %d%%\n' "$percent" >&2; fi
    last=$percent
  done
  [ ! -t 2 ] || printf '\n' >&2
}
