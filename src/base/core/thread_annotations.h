// Clang's thread-safety annotations: which lock guards what. Checked by clang with -Wthread-safety
// (./dev lint), empty for other compilers. mutex.h has the annotated locks.
#pragma once

#if defined(__clang__)
#define TC_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define TC_THREAD_ANNOTATION(x)
#endif

// Types: a lock; an object that holds a lock while it lives.
#define TC_CAPABILITY(name) TC_THREAD_ANNOTATION(capability(name))
#define TC_SCOPED_CAPABILITY TC_THREAD_ANNOTATION(scoped_lockable)

// Members: accessed only with the lock held; for a pointer: the data it points to.
#define TC_GUARDED_BY(...) TC_THREAD_ANNOTATION(guarded_by(__VA_ARGS__))
#define TC_PT_GUARDED_BY(...) TC_THREAD_ANNOTATION(pt_guarded_by(__VA_ARGS__))

// Functions: REQUIRES the lock held, or not held; acquires it; releases it; returns a reference to
// it.
#define TC_REQUIRES(...) TC_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define TC_EXCLUDES(...) TC_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define TC_ACQUIRE(...) TC_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define TC_TRY_ACQUIRE(...) TC_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define TC_RELEASE(...) TC_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define TC_ASSERT_CAPABILITY(...) TC_THREAD_ANNOTATION(assert_capability(__VA_ARGS__))
#define TC_RETURN_CAPABILITY(x) TC_THREAD_ANNOTATION(lock_returned(x))

// Mutexes: the order in which they are acquired (checked by -Wthread-safety-beta).
#define TC_ACQUIRED_BEFORE(...) TC_THREAD_ANNOTATION(acquired_before(__VA_ARGS__))
#define TC_ACQUIRED_AFTER(...) TC_THREAD_ANNOTATION(acquired_after(__VA_ARGS__))

// Functions that the analysis skips. Each use states the reason.
#define TC_NO_THREAD_SAFETY_ANALYSIS TC_THREAD_ANNOTATION(no_thread_safety_analysis)
