#!/bin/sh
# Model-checks the life of an entry with Spin, and that the model notices what it is there to notice.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# check NAME EXPECTED-ERRORS [SPIN OPTIONS]
check() {
  name=$1 expected=$2; shift 2
  spin -a "$@" "$here/entry_state.pml" >spin.log 2>&1 || { cat spin.log; exit 1; }
  ${CC:-cc} -O2 -DSAFETY -DCOLLAPSE -w -o pan pan.c
  ./pan -m100000 >pan.log 2>&1 || true
  errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log | head -n 1)
  states=$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log | head -n 1)
  echo "$name: $errors errors, $states states"
  if grep -q 'max search depth too small\|out of memory' pan.log; then cat pan.log; exit 1; fi
  [ "${errors:-x}" = "$expected" ] || { cat pan.log; exit 1; }
}

check 'a reader, the evictor, the remover and a child' 0 -DWITH_REMOVER -DWITH_CHILD
check 'two readers, the evictor and the remover' 0 -DWITH_TWO_READERS -DWITH_REMOVER
check 'two readers, the evictor and a child' 0 -DWITH_TWO_READERS -DWITH_CHILD
check 'a reader, the evictor, a child and the remover of an expired entry' 0 -DWITH_REMOVER -DWITH_CHILD -DEXPIRED
check 'without the grace period' 1 -DWITH_REMOVER -DNO_GRACE
check 'without putting back what is let go' 1 -DWITH_CHILD -DNO_UNPARK
check 'put back in two steps, with neither flag between' 1 -DWITH_REMOVER -DWITH_CHILD -DCLEAR_FIRST
