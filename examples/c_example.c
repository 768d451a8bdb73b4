/* The cache from C: a "model's" scores for a row of tokens, computed once. */
#include <stdio.h>
#include <tensorcache/tensorcache.h>

enum { kTokens = 4 };

static int runs = 0;

/* Stands for a model: a score for each token. */
static int score(void* context, tc_output* output) {
  const int64_t* tokens = context;
  float scores[kTokens];
  int64_t shape[] = {kTokens};
  tc_tensor value = {TC_FLOAT32, 1, scores, shape, NULL};
  ++runs;
  for (int i = 0; i < kTokens; ++i) scores[i] = (float)(tokens[i] % 100) / 100;
  return tc_output_set(output, &value) == TC_OK ? 0 : 1;
}

int main(void) {
  int64_t tokens[kTokens] = {101, 7592, 2088, 102};
  tc_options options = TC_OPTIONS_INIT;
  tc_cache* cache = NULL;
  tc_key key;
  options.capacity_bytes = 64u << 20;
  if (tc_cache_open(&options, &cache) != TC_OK || tc_key_tokens(tokens, kTokens, &key) != TC_OK) {
    fprintf(stderr, "error: %s\n", tc_last_error());
    return 1;
  }
  for (int turn = 0; turn < 3; ++turn) {
    tc_value* value = NULL;
    tc_tensor scores;
    if (tc_get_or_compute(cache, &key, score, tokens, NULL, &value) != TC_OK || tc_value_tensor(value, 0, &scores) != TC_OK) {
      fprintf(stderr, "error: %s\n", tc_last_error());
      return 1;
    }
    printf("turn %d: %u axis, the second score is %.2f\n", turn, scores.rank, ((const float*)scores.data)[1]);
    tc_value_release(value);
  }
  tc_cache_close(cache);
  printf("the model ran %d time\n", runs);
  return runs == 1 ? 0 : 1;
}
