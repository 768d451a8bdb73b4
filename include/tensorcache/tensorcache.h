/* The C ABI of TensorCache (tensorcache/tensor_cache.h): opaque handles, structs, status codes.
 *
 * Link with libtensorcache_c (`pkg-config --cflags --libs tensorcache-c`, or `tensorcache::c` in
 * CMake). examples/c_example.c is a complete program. tc_add replaces the stored value.
 *
 * Example:
 *   tc_options options = TC_OPTIONS_INIT;
 *   options.capacity_bytes = 64 << 20;
 *   tc_cache* cache = NULL;
 *   if (tc_cache_open(&options, &cache) != TC_OK) return fail(tc_last_error());
 *   int64_t tokens[] = {101, 7592, 102}, shape[] = {3};
 *   float numbers[] = {0.1f, 0.7f, 0.2f};
 *   tc_key key;
 *   tc_key_tokens(tokens, 3, &key);
 *   tc_tensor tensor = {TC_FLOAT32, 1, numbers, shape, NULL};
 *   if (tc_add(cache, &key, &tensor, NULL, NULL) != TC_OK) return fail(tc_last_error());
 *   tc_value* value = NULL;
 *   if (tc_get(cache, &key, &value) == TC_OK) {
 *     tc_tensor found;
 *     tc_value_tensor(value, 0, &found);
 *     use((const float*)found.data);
 *     tc_value_release(value);
 *   }
 *   tc_cache_close(cache);
 *
 * THREADS: every function may be called from any thread at any time, except tc_cache_close(), which
 * requires that no other call is running.
 * ERRORS: functions return a tc_status; tc_last_error() has the message. No exception leaves the
 * library. A null pointer where none is allowed gives TC_INVALID_ARGUMENT. Outputs are written only
 * on TC_OK, except `version`.
 * STABILITY: structs carry their size (TC_..._INIT); functions are added and never changed; symbols
 * have the version TENSORCACHE_0.
 */
#ifndef TENSORCACHE_TENSORCACHE_H
#define TENSORCACHE_TENSORCACHE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TC_API __attribute__((visibility("default")))
#else
#define TC_API
#endif

/* Add, never renumber. */
typedef enum tc_status {
  TC_OK = 0,
  TC_MISS = 1,    /* nothing is stored */
  TC_NOTHING = 2, /* a negative entry is stored: there is nothing */
  TC_INVALID_ARGUMENT = 3,
  TC_CONFLICT = 4, /* another version is stored */
  TC_LEASE_LOST = 5,
  TC_TOO_LARGE = 6, /* larger than the whole budget; the stored value is kept */
  TC_NO_SPACE = 7,  /* every evictable entry is pinned; the stored value is kept */
  TC_TIMEOUT = 8,
  TC_COMPUTE_FAILED = 9, /* the callback reported a failure */
  TC_OUT_OF_MEMORY = 10,
  TC_ERROR = 11,      /* anything else, e.g. a directory that another process uses */
  TC_UNAVAILABLE = 12 /* a stored value cannot be read now: all memory is pinned, or the disk failed */
} tc_status;

/* RETURNS the error message of the last failed call on this thread. Valid until the next call on
   this thread. Never null. */
TC_API const char* tc_last_error(void);
/* RETURNS the name of a status for messages, e.g. "stored"; never null. */
TC_API const char* tc_status_name(tc_status status);
/* RETURNS the version of the library, e.g. "0.1.0". */
TC_API const char* tc_version(void);

/* As tensorcache::DType. Bytes and text have one byte per element and one axis. */
typedef enum tc_dtype {
  TC_BYTES = 0,
  TC_TEXT = 1,
  TC_BOOL = 2,
  TC_INT8 = 3,
  TC_INT16 = 4,
  TC_INT32 = 5,
  TC_INT64 = 6,
  TC_UINT8 = 7,
  TC_UINT16 = 8,
  TC_UINT32 = 9,
  TC_UINT64 = 10,
  TC_FLOAT16 = 11,
  TC_BFLOAT16 = 12,
  TC_FLOAT32 = 13,
  TC_FLOAT64 = 14,
  TC_COMPLEX64 = 15,
  TC_COMPLEX128 = 16
} tc_dtype;

/* A non-owning view of elements. */
typedef struct tc_tensor {
  int32_t dtype; /* a tc_dtype */
  uint32_t rank; /* at most 16 */
  const void* data;
  const int64_t* shape;   /* rank numbers; null for rank 0 */
  const int64_t* strides; /* in elements; null: row-major */
} tc_tensor;

/* The key of an entry, a digest. A plain value. */
typedef struct tc_key {
  uint8_t bytes[32];
} tc_key;
TC_API tc_status tc_key_tokens(const int64_t* tokens, size_t count, tc_key* key);
TC_API tc_status tc_key_text(const char* utf8, size_t bytes, tc_key* key);
TC_API tc_status tc_key_bytes(const void* data, size_t bytes, tc_key* key);

typedef struct tc_options {
  size_t size;               /* sizeof(tc_options) */
  uint64_t capacity_bytes;   /* memory budget, a hard limit on all allocations of the cache; 0: 1 GiB */
  uint64_t capacity_entries; /* 0: no such limit */
  const char* policy;        /* null: "lru" */
  const char* name;          /* caches with different names never see each other's entries; null: "" */
  const char* directory;     /* cache directory of the disk tier; null: memory only */
  uint64_t disk_bytes;       /* 0: 20 GiB */
} tc_options;
#define TC_OPTIONS_INIT {sizeof(tc_options), 0, 0, NULL, NULL, NULL, 0}

typedef struct tc_add_options {
  size_t size;              /* sizeof(tc_add_options) */
  uint64_t time_to_live_ms; /* time until the entry is stale; 0: never */
  uint64_t stale_for_ms;    /* time for which a stale entry is still served */
  const char* const* tags;  /* tag_count strings; at most 16 */
  size_t tag_count;
  float cost_seconds;                /* time that computing the value again would take */
  uint64_t negative_time_to_live_ms; /* tc_get_or_compute: time for which "there is nothing" is stored; 0: not stored */
} tc_add_options;
#define TC_ADD_OPTIONS_INIT {sizeof(tc_add_options), 0, 0, NULL, 0, 1.0f, 0}

typedef struct tc_cache tc_cache;
/* `options` may be null: the defaults. */
TC_API tc_status tc_cache_open(const tc_options* options, tc_cache** cache);
/* Returned values stay valid. Null: no effect. */
TC_API void tc_cache_close(tc_cache* cache);
/* The same, with a timeout for writing the queue to disk. RETURNS TC_OK if no removed or replaced
   value can reappear at the next start, TC_TIMEOUT if one may. The cache is closed in both cases.
   */
TC_API tc_status tc_cache_close_within(tc_cache* cache, uint64_t time_ms);

/* Stores a copy and replaces the stored value. `options` and `version` may be null; *version is the
   new version. */
TC_API tc_status tc_add(tc_cache* cache, const tc_key* key, const tc_tensor* value, const tc_add_options* options, uint64_t* version);
/* Compare-and-swap: stores only if `expected` is the stored version (0: not stored). TC_CONFLICT:
 *version is the stored version. */
TC_API tc_status tc_put_if_version(tc_cache* cache, const tc_key* key, uint64_t expected, const tc_tensor* value, const tc_add_options* options,
                                   uint64_t* version);

/* A stored value, pinned and read-only until it is released. */
typedef struct tc_value tc_value;
/* RETURNS TC_OK and a value to be released; TC_MISS, TC_NOTHING or TC_UNAVAILABLE without one. */
TC_API tc_status tc_get(tc_cache* cache, const tc_key* key, tc_value** value);
/* values[i] is null where keys[i] is not stored. */
TC_API tc_status tc_get_many(tc_cache* cache, const tc_key* keys, size_t count, tc_value** values);
TC_API void tc_value_release(tc_value* value);       /* null: no effect */
TC_API size_t tc_value_parts(const tc_value* value); /* number of parts; 0 for null */
/* Points into the value; data is 64-byte aligned. */
TC_API tc_status tc_value_tensor(const tc_value* value, size_t part, tc_tensor* tensor);
/* RETURNS how the parts form a value (docs/format-tensor.md), not zero-terminated. Empty for a
   value of one part. */
TC_API const char* tc_value_structure(const tc_value* value, size_t* bytes);
TC_API uint64_t tc_value_version(const tc_value* value); /* 0: computed and not stored */
TC_API uint64_t tc_value_age_ms(const tc_value* value);  /* since it was stored */
TC_API int tc_value_is_stale(const tc_value* value);     /* 1: past its time to live when read; else 0 */

/* Callback that computes a missing value: pass a tensor to tc_output_set() and return 0. Return 0
   without calling it for "there is nothing", non-zero for a failure. */
typedef struct tc_output tc_output;
typedef int (*tc_compute)(void* context, tc_output* output);
TC_API tc_status tc_output_set(tc_output* output, const tc_tensor* value); /* copies */
/* RETURNS the stored value, or the result of `compute`, which is then stored. Single-flight: one
   thread computes, the others wait. A stale value is returned at once while a thread of the cache
   calls `compute`. REQUIRES: `context` lives as long as the cache if stale_for_ms is used.
   TC_COMPUTE_FAILED: nothing is stored, and one of the waiting callers retries with its own
   `compute`. */
TC_API tc_status tc_get_or_compute(tc_cache* cache, const tc_key* key, tc_compute compute, void* context, const tc_add_options* options,
                                   tc_value** value);

/* RETURNS TC_MISS if nothing was stored. */
TC_API tc_status tc_remove(tc_cache* cache, const tc_key* key);
TC_API tc_status tc_clear(tc_cache* cache); /* removes all entries */
/* Invalidates all entries stored with this tag before now. TC_ERROR: it could not be persisted and
   applies to this process only. */
TC_API tc_status tc_invalidate(tc_cache* cache, const char* tag);

/* The exclusive right to write one key: waits up to timeout_ms (TC_TIMEOUT), held for at most
   hold_ms. */
typedef struct tc_lease tc_lease;
TC_API tc_status tc_lease_take(tc_cache* cache, const tc_key* key, uint64_t timeout_ms, uint64_t hold_ms, tc_lease** lease);
TC_API tc_status tc_lease_add(tc_cache* cache, const tc_lease* lease, const tc_tensor* value, const tc_add_options* options, uint64_t* version);
TC_API void tc_lease_release(tc_lease* lease); /* null: no effect */

/* Changes the memory budget at once and evicts until the entries fit. */
TC_API tc_status tc_resize(tc_cache* cache, uint64_t capacity_bytes);
/* Waits until all writes and removals so far are on disk. TC_TIMEOUT: not within that time, or some
   were dropped. */
TC_API tc_status tc_flush(tc_cache* cache, uint64_t time_ms);

typedef struct tc_stats {
  size_t size; /* sizeof(tc_stats), set by the caller */
  uint64_t entries, used_bytes, capacity_bytes, hits, stale_hits, misses, writes, evictions, computations, refreshes, disk_entries, disk_bytes;
  uint64_t waits; /* lookups that received another caller's running computation: neither hits nor misses */
} tc_stats;
TC_API tc_status tc_get_stats(const tc_cache* cache, tc_stats* stats);

#ifdef __cplusplus
}
#endif

#endif
