/* TensorCache from C, and from whatever can call C: tensorcache/tensor_cache.h as opaque handles, plain structs and status codes.
 *
 * Link with libtensorcache_c (`pkg-config --cflags --libs tensorcache-c`, or `tensorcache::c` in CMake). examples/c_example.c is a whole
 * program.
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
 * Threads: every function may be called from any thread at any time; tc_cache_close() once nothing else runs.
 * Errors: a tc_status; tc_last_error() has the sentence. No exception leaves this library. A pointer that must not be null and is gives
 * TC_INVALID_ARGUMENT. Where a call does not give TC_OK, what it would have written through a pointer is not written, but for `version`.
 * Stability: struct sizes are handed over (TC_..._INIT), functions are added and never changed; symbols carry the version TENSORCACHE_0.
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
  TC_NOTHING = 2, /* it is remembered that there is nothing */
  TC_INVALID_ARGUMENT = 3,
  TC_CONFLICT = 4, /* another version is stored */
  TC_LEASE_LOST = 5,
  TC_TOO_LARGE = 6, /* larger than the whole budget; what was there stays */
  TC_NO_SPACE = 7,  /* all is pinned; what was there before stays */
  TC_TIMEOUT = 8,
  TC_COMPUTE_FAILED = 9, /* the callback said so */
  TC_OUT_OF_MEMORY = 10,
  TC_ERROR = 11,      /* anything else, e.g. a directory that another process uses */
  TC_UNAVAILABLE = 12 /* a value is stored and cannot be read now: all is pinned, or the disk failed */
} tc_status;

/* Why the last call on this thread that did not give TC_OK did not. Valid until the next call on this thread. Never null. */
TC_API const char* tc_last_error(void);
/* "stored", ... for people; never null. */
TC_API const char* tc_status_name(tc_status status);
/* The library's version, e.g. "0.1.0". */
TC_API const char* tc_version(void);

/* As tensorcache::DType. Bytes and text have one byte an element and one axis. */
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

/* Elements and how they lie. Owns nothing. */
typedef struct tc_tensor {
  int32_t dtype; /* a tc_dtype */
  uint32_t rank; /* at most 16 */
  const void* data;
  const int64_t* shape;   /* rank numbers; null for rank 0 */
  const int64_t* strides; /* in elements; null: row-major */
} tc_tensor;

/* A digest of what a value is stored under. A plain value. */
typedef struct tc_key {
  uint8_t bytes[32];
} tc_key;
TC_API tc_status tc_key_tokens(const int64_t* tokens, size_t count, tc_key* key);
TC_API tc_status tc_key_text(const char* utf8, size_t bytes, tc_key* key);
TC_API tc_status tc_key_bytes(const void* data, size_t bytes, tc_key* key);

typedef struct tc_options {
  size_t size;               /* sizeof(tc_options) */
  uint64_t capacity_bytes;   /* of memory, hard, all that the cache allocates; 0: 1 GiB */
  uint64_t capacity_entries; /* 0: no such limit */
  const char* policy;        /* null: "lru" */
  const char* name;          /* caches of different names never see each other's entries; null: "" */
  const char* directory;     /* on disk too; null: in memory only */
  uint64_t disk_bytes;       /* 0: 20 GiB */
} tc_options;
#define TC_OPTIONS_INIT {sizeof(tc_options), 0, 0, NULL, NULL, NULL, 0}

typedef struct tc_add_options {
  size_t size;              /* sizeof(tc_add_options) */
  uint64_t time_to_live_ms; /* fresh for so long; 0: for ever */
  uint64_t stale_for_ms;    /* then served so long as stale */
  const char* const* tags;  /* tag_count strings; at most 16 */
  size_t tag_count;
  float cost_seconds;                /* what computing it again would take */
  uint64_t negative_time_to_live_ms; /* tc_get_or_compute: how long "there is nothing" is remembered; 0: not at all */
} tc_add_options;
#define TC_ADD_OPTIONS_INIT {sizeof(tc_add_options), 0, 0, NULL, 0, 1.0f, 0}

typedef struct tc_cache tc_cache;
/* Null options: the defaults. */
TC_API tc_status tc_cache_open(const tc_options* options, tc_cache** cache);
/* Values that were got stay valid. Null: nothing happens. */
TC_API void tc_cache_close(tc_cache* cache);
/* The same, with a limit for what the disk still has to take. TC_OK: nothing that was removed or replaced comes back at the next start.
   TC_TIMEOUT: it may. The cache is closed either way. */
TC_API tc_status tc_cache_close_within(tc_cache* cache, uint64_t time_ms);

/* Stores a copy in place of what is there. `options` and `version` may be null; *version is that of what is stored then. */
TC_API tc_status tc_add(tc_cache* cache, const tc_key* key, const tc_tensor* value, const tc_add_options* options, uint64_t* version);
/* Only if `expected` is the version that is stored (0: nothing). TC_CONFLICT: *version is the one that is. */
TC_API tc_status tc_put_if_version(tc_cache* cache, const tc_key* key, uint64_t expected, const tc_tensor* value, const tc_add_options* options,
                                   uint64_t* version);

/* A value that was found, pinned and read-only until it is released. */
typedef struct tc_value tc_value;
TC_API tc_status tc_get(tc_cache* cache, const tc_key* key, tc_value** value);
/* values[i] is null where keys[i] is not stored. */
TC_API tc_status tc_get_many(tc_cache* cache, const tc_key* keys, size_t count, tc_value** values);
TC_API void tc_value_release(tc_value* value); /* null: nothing happens */
TC_API size_t tc_value_parts(const tc_value* value);
/* Points into the value; data is 64-byte aligned. */
TC_API tc_status tc_value_tensor(const tc_value* value, size_t part, tc_tensor* tensor);
/* How the parts belong together (docs/format-tensor.md), not ended by a zero. Empty for a value of one part. */
TC_API const char* tc_value_structure(const tc_value* value, size_t* bytes);
TC_API uint64_t tc_value_version(const tc_value* value); /* 0: it was computed and is not stored */
TC_API uint64_t tc_value_age_ms(const tc_value* value);
TC_API int tc_value_is_stale(const tc_value* value);

/* Computes what is missing: hand a tensor to tc_output_set() and return 0; return 0 without it: there is nothing; else: it failed. */
typedef struct tc_output tc_output;
typedef int (*tc_compute)(void* context, tc_output* output);
TC_API tc_status tc_output_set(tc_output* output, const tc_tensor* value); /* copies */
/* What is stored, or what `compute` makes of it, which is then stored; one thread computes a key, the others wait. A stale value is
 * given at once while a thread of the cache's calls `compute`, so `context` must live as long as the cache if stale_for_ms is used.
 * TC_COMPUTE_FAILED: nothing is stored, and one of those who wait calls its own `compute`. */
TC_API tc_status tc_get_or_compute(tc_cache* cache, const tc_key* key, tc_compute compute, void* context, const tc_add_options* options,
                                   tc_value** value);

/* TC_MISS: there was nothing. */
TC_API tc_status tc_remove(tc_cache* cache, const tc_key* key);
TC_API tc_status tc_clear(tc_cache* cache);
/* Everything stored with this tag before now is gone. TC_ERROR: for this process only, it could not be written down. */
TC_API tc_status tc_invalidate(tc_cache* cache, const char* tag);

/* The right to write one key, waited for up to patience_ms (TC_TIMEOUT), held for hold_ms at most. */
typedef struct tc_lease tc_lease;
TC_API tc_status tc_lease_take(tc_cache* cache, const tc_key* key, uint64_t patience_ms, uint64_t hold_ms, tc_lease** lease);
TC_API tc_status tc_lease_add(tc_cache* cache, const tc_lease* lease, const tc_tensor* value, const tc_add_options* options, uint64_t* version);
TC_API void tc_lease_release(tc_lease* lease); /* null: nothing happens */

TC_API tc_status tc_resize(tc_cache* cache, uint64_t capacity_bytes);
/* Waits until everything so far is on disk. TC_TIMEOUT: not within that time, or some of it was given up. */
TC_API tc_status tc_flush(tc_cache* cache, uint64_t time_ms);

typedef struct tc_stats {
  size_t size; /* sizeof(tc_stats), set by the caller */
  uint64_t entries, used_bytes, capacity_bytes, hits, stale_hits, misses, writes, evictions, computations, refreshes, disk_entries, disk_bytes;
  uint64_t waits; /* lookups that got what another caller was computing: neither hits nor misses */
} tc_stats;
TC_API tc_status tc_get_stats(const tc_cache* cache, tc_stats* stats);

#ifdef __cplusplus
}
#endif

#endif
