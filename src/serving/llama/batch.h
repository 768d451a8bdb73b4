// A llama_batch that frees itself.
#pragma once

#include <llama.h>

namespace tensorcache::llama {

// Room for `capacity` tokens of one sequence each. add() beyond it is a programming error.
class Batch {
 public:
  explicit Batch(int capacity) : batch_(llama_batch_init(capacity, 0, 1)) {}
  ~Batch() { llama_batch_free(batch_); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  void clear() { batch_.n_tokens = 0; }
  void add(llama_token token, llama_pos position, llama_seq_id sequence, bool with_logits) {
    const int i = batch_.n_tokens++;
    batch_.token[i] = token;
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = sequence;
    batch_.logits[i] = with_logits ? 1 : 0;
  }
  [[nodiscard]] int size() const { return batch_.n_tokens; }
  [[nodiscard]] const llama_batch& get() const { return batch_; }

 private:
  llama_batch batch_;
};

}   // namespace tensorcache::llama
