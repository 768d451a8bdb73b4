/* The life of one entry in the memory tier (src/store/memory): readers that pin it without a lock, one that evicts, one that removes, one that chains
 * a child behind it. Its state word (src/store/memory/entry_state.h), the sections of Epochs, the notes of uses and the policy's and the shard's locks are
 * as in the code. Whether the policy's list holds the entry is a variable of its own, not one of the flags.
 *
 * Checked for every interleaving: the entry is not touched after it was freed, it is freed once, a pinned entry is not freed, nor one that the
 * policy's list holds, and in the end it is either freed or findable and in the policy's list: neither leaked nor lost to eviction.
 * With NO_GRACE (the entry is freed without waiting for sections to end), NO_UNPARK (the last reference does not put a parked entry back) or
 * CLEAR_FIRST (put back in two steps, between which it shows no flag) it must fail; models/check.sh tries each.
 * With EXPIRED the remover takes the entry out although a child is chained behind it: it had expired, or a walk (forget_where) goes on to that.
 */
#define PIN 1
#define KID 16
#define REFERENCES(s) ((s) & 255)
#define LINKED 256
#define PARKED 512
#define GONE 1024

#define READERS 2

int state = LINKED;
bool indexed = true, freed = false;
bool listed = true;         /* in the policy's list */
byte shard_lock = 0, policy_lock = 0;
bool inside[READERS + 1];   /* sections; the last is the child's */
bool noted[READERS + 1];
byte pinned = 0;            /* handles that somebody reads through */

#define LOCK(l) atomic { l == 0 -> l = 1 }
#define UNLOCK(l) l = 0
#define TOUCH_ENTRY assert(!freed)

/* fetch_add, fetch_and and the like: one step. */
inline add(n) { d_step { TOUCH_ENTRY; state = state + n } }
inline clear_flags(f) { d_step { TOUCH_ENTRY; state = (state | (f)) - (f) } }

/* EvictionOrder::put_back_locked, with the policy lock held. */
inline put_back() {
#ifdef CLEAR_FIRST
  clear_flags(PARKED);
  listed = true;
  d_step { TOUCH_ENTRY; state = state | LINKED }
#else
  listed = true;
  d_step { TOUCH_ENTRY; state = state - PARKED + LINKED }
#endif
}

inline free_entry() {
  d_step {
    assert(!freed);
    assert(!listed);
    assert(pinned == 0);
    freed = true
  }
}

/* With the policy lock held: what was noted is told, and whoever was inside has left. */
inline settle(i) {
  i = 0;
  do
  :: i <= READERS ->
#ifndef NO_GRACE
     !inside[i];
#endif
     if
     :: noted[i] ->
        noted[i] = false;
        TOUCH_ENTRY;
        if
        :: state & PARKED -> put_back()
        :: else -> skip
        fi
     :: else -> skip
     fi;
     i++
  :: else -> break
  od
}

/* Evictor::drop, and the free that follows where it was the last reference of a gone entry. */
inline drop(unit, seen, done) {
  done = false;
  d_step { TOUCH_ENTRY; seen = state };
#ifdef NO_UNPARK
#define MUST_UNPARK(s, unit) false
#else
#define MUST_UNPARK(s, unit) (REFERENCES(s) == unit && (s & PARKED))
#endif
  do
  :: done -> break
  :: !done && MUST_UNPARK(seen, unit) ->
     LOCK(policy_lock);
     if
     :: state & PARKED -> put_back()
     :: else -> skip
     fi;
     UNLOCK(policy_lock);
     d_step { TOUCH_ENTRY; seen = state }
  :: !done && !MUST_UNPARK(seen, unit) ->
     d_step {
       TOUCH_ENTRY;
       if
       :: state == seen -> state = state - unit; done = true
       :: else -> seen = state
       fi
     }
  od;
  if
  :: REFERENCES(seen) == unit && (seen & GONE) -> free_entry()
  :: else -> skip
  fi
}

proctype reader(byte me) {
  int seen; bool done, found, got;
     inside[me] = true;
     found = indexed;
     got = false;
     if
     :: found ->
        d_step { TOUCH_ENTRY; seen = state; state = state + PIN };
        if
        :: seen & GONE -> add(-PIN)
        :: else -> got = true; pinned++; noted[me] = true
        fi
     :: else -> skip
     fi;
     inside[me] = false;
     if
     :: got ->
        TOUCH_ENTRY;   /* reads the value */
        pinned--;
        drop(PIN, seen, done)
     :: else -> skip
     fi
}

proctype child() {   /* hold_parent, and the draft's end */
  int seen; bool done, found, got = false;
  inside[READERS] = true;
  found = indexed;
  if
  :: found ->
     d_step { TOUCH_ENTRY; seen = state; state = state + KID };
     if
     :: seen & GONE -> add(-KID)
     :: else -> got = true
     fi
  :: else -> skip
  fi;
  inside[READERS] = false;
  if
  :: got -> drop(KID, seen, done)
  :: else -> skip
  fi
}

proctype evictor() {
  int seen; bool done, popped = false, taken = false; byte i;
  LOCK(policy_lock);
  settle(i);
  if
  :: listed -> listed = false; popped = true; d_step { TOUCH_ENTRY; assert(state & LINKED); state = state + PIN - LINKED }
  :: else -> skip
  fi;
  UNLOCK(policy_lock);
  if
  :: popped ->
     LOCK(shard_lock);
     d_step { TOUCH_ENTRY; seen = state };
     done = false;
     do
     :: done -> break
     :: !done && (seen & GONE) -> done = true
     :: !done && !(seen & GONE) && REFERENCES(seen) != PIN ->
        d_step { if :: state == seen -> state = state | PARKED; done = true :: else -> seen = state fi }
     :: !done && !(seen & GONE) && REFERENCES(seen) == PIN ->
        d_step { if :: state == seen -> state = state | GONE; done = true; taken = true :: else -> seen = state fi }
     od;
     if
     :: taken -> indexed = false
     :: else -> skip
     fi;
     UNLOCK(shard_lock);
     if
     :: taken ->
        LOCK(policy_lock);
        settle(i);
        UNLOCK(policy_lock)
     :: else -> skip
     fi;
     drop(PIN, seen, done)
  :: else -> skip
  fi
}

proctype remover() {
  int seen; bool done, taken = false; byte i;
  LOCK(shard_lock);
  if
  :: indexed ->
     d_step { TOUCH_ENTRY; seen = state };
     done = false;
     do
     :: done -> break
#ifdef EXPIRED
#define KEPT_BY_KIDS(s) false
#else
#define KEPT_BY_KIDS(s) (REFERENCES(s) >= KID)   /* the whole chain goes, by another way */
#endif
     :: !done && KEPT_BY_KIDS(seen) -> done = true
     :: !done && !KEPT_BY_KIDS(seen) ->
        d_step { if :: state == seen -> state = (state + PIN) | GONE; done = true; taken = true :: else -> seen = state fi }
     od;
     if
     :: taken ->
        indexed = false;
        if
        :: state & (LINKED | PARKED) ->
           LOCK(policy_lock);
           if
           :: state & LINKED -> listed = false
           :: else -> skip
           fi;
           clear_flags(LINKED | PARKED);
           UNLOCK(policy_lock)
        :: else -> skip
        fi;
        assert(!listed)   /* its links are overwritten now */
     :: else -> skip
     fi
  :: else -> skip
  fi;
  UNLOCK(shard_lock);
  if
  :: taken ->
     LOCK(policy_lock);
     settle(i);
     UNLOCK(policy_lock);
     drop(PIN, seen, done)
  :: else -> skip
  fi
}

init {
  byte i;
  atomic {
#ifdef WITH_TWO_READERS
    run reader(0); run reader(1);
#else
    run reader(0);
#endif
#ifdef WITH_CHILD
    run child();
#endif
#ifdef WITH_REMOVER
    run remover();
#endif
    run evictor()
  }
  _nr_pr == 1;
  /* Notes that nobody has read yet touch nothing that was freed. */
  LOCK(policy_lock);
  settle(i);
  UNLOCK(policy_lock);
  assert(freed == (!indexed));
  assert(freed || (listed && (state & LINKED) && !(state & PARKED) && REFERENCES(state) == 0))
}
