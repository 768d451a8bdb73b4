// Writes a GGUF model of a given shape with random weights: for benchmarks of sizes for which no model is downloaded.
//
//   make_model SHAPE TOKENIZER.gguf OUT.gguf
//
// Speed and K/V size do not depend on the values of the weights; the text that such a model writes is noise. The tokenizer and the chat
// template are those of another model, filled up with unused tokens to the size of the real vocabulary.
#include <ggml.h>
#include <gguf.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct Shape {
  std::string_view name, summary, arch;
  ggml_type type;
  std::uint32_t layers, embedding, heads, kv_heads, head_size, feed_forward, vocabulary, context;   // vocabulary 0: the tokenizer's
  float rope_base;
  bool attention_bias;
};

// K/V of one token at f16: 2 x 2 bytes x layers x kv_heads x head_size.
constexpr Shape kShapes[] = {
    {"wide", "128 KiB of K/V for a token, little else", "llama", GGML_TYPE_F16, 32, 64, 8, 8, 128, 64, 0, 131072, 10000, false},
    {"llama-3.2-1b", "32 KiB of K/V for a token", "llama", GGML_TYPE_Q4_0, 16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000, false},
    {"qwen2.5-3b", "36 KiB of K/V for a token", "qwen2", GGML_TYPE_Q4_0, 36, 2048, 16, 2, 128, 11008, 151936, 32768, 1000000, true},
};

class Writer {
 public:
  Writer(const Shape& shape, const std::string& tokenizer) : shape_(shape) {
    source_.reset(gguf_init_from_file(tokenizer.c_str(), {.no_alloc = true, .ctx = nullptr}));
    if (!source_) throw std::runtime_error(tokenizer + ": not a GGUF file");
    gguf_set_kv(file_.get(), source_.get());
    gguf_set_val_str(file_.get(), "general.architecture", std::string(shape.arch).c_str());
    gguf_set_val_str(file_.get(), "general.name", (std::string(shape.name) + " with random weights").c_str());
    fill_vocabulary();
  }
  void number(const char* key, std::uint32_t value) { gguf_set_val_u32(file_.get(), (std::string(shape_.arch) + "." + key).c_str(), value); }
  void real(const char* key, float value) { gguf_set_val_f32(file_.get(), (std::string(shape_.arch) + "." + key).c_str(), value); }
  // Weights that keep the size of what goes through them.
  void matrix(const std::string& name, std::int64_t in, std::int64_t out) {
    fill(add(name, shape_.type, {in, out}), 1 / std::sqrt(static_cast<float>(in)));
  }
  void vector(const std::string& name, std::int64_t size, float value) {
    ggml_tensor* const tensor = add(name, GGML_TYPE_F32, {size});
    for (std::int64_t i = 0; i < size; ++i) static_cast<float*>(tensor->data)[i] = value;
  }
  void write(const std::string& path) const {
    if (!gguf_write_to_file(file_.get(), path.c_str(), false)) throw std::runtime_error("cannot write " + path);
  }
  [[nodiscard]] std::uint32_t vocabulary() const { return vocabulary_; }

 private:
  struct Free {
    void operator()(gguf_context* file) const { gguf_free(file); }
    void operator()(ggml_context* weights) const { ggml_free(weights); }
  };
  using Weights = std::unique_ptr<ggml_context, Free>;

  void fill_vocabulary() {
    const auto array = [&](const char* key) {
      const std::int64_t id = gguf_find_key(source_.get(), key);
      if (id < 0) throw std::runtime_error(std::string("the tokenizer's model has no ") + key);
      return id;
    };
    const std::int64_t tokens_id = array("tokenizer.ggml.tokens"), types_id = array("tokenizer.ggml.token_type");
    std::vector<std::string> tokens;
    for (std::size_t i = 0; i < gguf_get_arr_n(source_.get(), tokens_id); ++i) tokens.emplace_back(gguf_get_arr_str(source_.get(), tokens_id, i));
    const auto* const first = static_cast<const std::int32_t*>(gguf_get_arr_data(source_.get(), types_id));
    std::vector<std::int32_t> types(first, first + tokens.size());
    constexpr std::int32_t kUnused = 5;
    while (tokens.size() < shape_.vocabulary) {
      tokens.push_back("<|unused_" + std::to_string(tokens.size()) + "|>");
      types.push_back(kUnused);
    }
    std::vector<const char*> texts;
    for (const auto& token : tokens) texts.push_back(token.c_str());
    gguf_set_arr_str(file_.get(), "tokenizer.ggml.tokens", texts.data(), texts.size());
    gguf_set_arr_data(file_.get(), "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(), types.size());
    vocabulary_ = static_cast<std::uint32_t>(tokens.size());
  }

  ggml_tensor* add(const std::string& name, ggml_type type, const std::vector<std::int64_t>& shape) {
    std::size_t bytes = ggml_row_size(type, shape[0]) + 1024 + ggml_tensor_overhead();
    for (std::size_t i = 1; i < shape.size(); ++i) bytes *= static_cast<std::size_t>(shape[i]);
    weights_.emplace_back(ggml_init({bytes, nullptr, false}));
    ggml_tensor* const tensor = ggml_new_tensor(weights_.back().get(), type, static_cast<int>(shape.size()), shape.data());
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(file_.get(), tensor);
    return tensor;
  }
  void fill(ggml_tensor* tensor, float deviation) {
    if (tensor->type == GGML_TYPE_F16) {
      std::normal_distribution<float> normal(0, deviation);
      for (std::int64_t i = 0; i < ggml_nelements(tensor); ++i) static_cast<ggml_fp16_t*>(tensor->data)[i] = ggml_fp32_to_fp16(normal(random_));
      return;
    }
    // Q4_0: blocks of 32 weights, a scale and 4 bits each, which are (0 to 15) - 8 with a deviation of 4.6.
    constexpr std::size_t kBlockBytes = 18;
    const ggml_fp16_t scale = ggml_fp32_to_fp16(deviation / 4.6f);
    auto* const data = static_cast<std::uint8_t*>(tensor->data);
    for (std::size_t at = 0; at < ggml_nbytes(tensor); at += kBlockBytes) {
      std::memcpy(data + at, &scale, sizeof scale);
      const std::uint64_t bits[2] = {random_(), random_()};
      std::memcpy(data + at + sizeof scale, bits, sizeof bits);
    }
  }

  const Shape& shape_;
  std::unique_ptr<gguf_context, Free> source_, file_{gguf_init_empty()};
  std::vector<Weights> weights_;   // one for each tensor
  std::uint32_t vocabulary_ = 0;
  std::mt19937_64 random_{7};
};

void write_model(const Shape& shape, const std::string& tokenizer, const std::string& path) {
  Writer w(shape, tokenizer);
  w.number("block_count", shape.layers);
  w.number("context_length", shape.context);
  w.number("embedding_length", shape.embedding);
  w.number("feed_forward_length", shape.feed_forward);
  w.number("attention.head_count", shape.heads);
  w.number("attention.head_count_kv", shape.kv_heads);
  w.number("attention.key_length", shape.head_size);
  w.number("attention.value_length", shape.head_size);
  w.number("rope.dimension_count", shape.head_size);
  w.number("vocab_size", w.vocabulary());
  w.real("attention.layer_norm_rms_epsilon", 1e-5f);
  w.real("rope.freq_base", shape.rope_base);
  const std::int64_t embedding = shape.embedding, queries = shape.heads * shape.head_size, keys = shape.kv_heads * shape.head_size;
  w.matrix("token_embd.weight", embedding, w.vocabulary());   // the output's too
  w.vector("output_norm.weight", embedding, 1);
  for (std::uint32_t i = 0; i < shape.layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    w.vector(layer + "attn_norm.weight", embedding, 1);
    w.matrix(layer + "attn_q.weight", embedding, queries);
    w.matrix(layer + "attn_k.weight", embedding, keys);
    w.matrix(layer + "attn_v.weight", embedding, keys);
    w.matrix(layer + "attn_output.weight", queries, embedding);
    if (shape.attention_bias) {
      w.vector(layer + "attn_q.bias", queries, 0);
      w.vector(layer + "attn_k.bias", keys, 0);
      w.vector(layer + "attn_v.bias", keys, 0);
    }
    w.vector(layer + "ffn_norm.weight", embedding, 1);
    w.matrix(layer + "ffn_gate.weight", embedding, shape.feed_forward);
    w.matrix(layer + "ffn_up.weight", embedding, shape.feed_forward);
    w.matrix(layer + "ffn_down.weight", shape.feed_forward, embedding);
  }
  w.write(path);
}

}   // namespace

int main(int argc, char** argv) try {
  if (argc == 4) {
    for (const Shape& shape : kShapes) {
      if (shape.name == argv[1]) return write_model(shape, argv[2], argv[3]), 0;
    }
    std::fprintf(stderr, "make_model: unknown shape '%s'\n", argv[1]);
  }
  std::fprintf(stderr, "usage: make_model SHAPE TOKENIZER.gguf OUT.gguf; shapes:\n");
  for (const Shape& shape : kShapes) std::fprintf(stderr, "  %-14s %s\n", shape.name.data(), shape.summary.data());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "make_model: %s\n", error.what());
  return 2;
}
