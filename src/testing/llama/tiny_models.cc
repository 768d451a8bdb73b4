#include "testing/llama/tiny_models.h"

#include <ggml.h>
#include <gguf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

namespace tensorcache::testing {
namespace {

constexpr int kEmbd = 64, kHeads = 2, kKvHeads = 1, kHeadSize = kEmbd / kHeads, kFeedForward = 128;
constexpr int kInner = 2 * kEmbd, kState = 16, kConv = 4, kRank = 4;   // mamba

class Writer {
 public:
  explicit Writer(std::string arch) : arch_(std::move(arch)) { gguf_set_val_str(file_.get(), "general.architecture", arch_.c_str()); }
  void number(const std::string& key, std::uint32_t value) { gguf_set_val_u32(file_.get(), (arch_ + "." + key).c_str(), value); }
  void real(const std::string& key, float value) { gguf_set_val_f32(file_.get(), (arch_ + "." + key).c_str(), value); }

  // Weights that keep the size of what goes through them; `bias` is added to each.
  void tensor(const std::string& name, const std::vector<std::int64_t>& shape, float scale, float bias = 0) {
    ggml_tensor* tensor = ggml_new_tensor(weights_.get(), GGML_TYPE_F32, static_cast<int>(shape.size()), shape.data());
    ggml_set_name(tensor, name.c_str());
    std::normal_distribution<float> normal(0, scale);
    float* const data = ggml_get_data_f32(tensor);
    for (std::int64_t i = 0; i < ggml_nelements(tensor); ++i) data[i] = bias + normal(random_);
    gguf_add_tensor(file_.get(), tensor);
  }
  void matrix(const std::string& name, std::int64_t in, std::int64_t out) { tensor(name, {in, out}, 1.0f / std::sqrt(static_cast<float>(in))); }
  void norm(const std::string& name) { tensor(name, {kEmbd}, 0.1f, 1.0f); }

  void vocabulary(bool bytes) {
    std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> types{2, 3, 3};   // unknown, control, control
    for (int byte = 0; byte < 256; ++byte) {
      char text[8];
      std::snprintf(text, sizeof text, bytes ? "<0x%02X>" : "w%02X", byte);
      tokens.emplace_back(text);
      types.push_back(bytes ? 6 : 1);
    }
    std::vector<const char*> texts;
    for (const auto& token : tokens) texts.push_back(token.c_str());
    const std::vector<float> scores(tokens.size(), 0.0f);
    gguf_set_val_str(file_.get(), "tokenizer.ggml.model", "llama");
    gguf_set_arr_str(file_.get(), "tokenizer.ggml.tokens", texts.data(), texts.size());
    gguf_set_arr_data(file_.get(), "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores.data(), scores.size());
    gguf_set_arr_data(file_.get(), "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types.data(), types.size());
    gguf_set_val_u32(file_.get(), "tokenizer.ggml.bos_token_id", 1);
    gguf_set_val_u32(file_.get(), "tokenizer.ggml.eos_token_id", 2);
    gguf_set_val_str(file_.get(), "tokenizer.chat_template", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ");
  }
  void write(const std::string& path) const {
    if (!gguf_write_to_file(file_.get(), path.c_str(), false)) throw std::runtime_error("cannot write " + path);
  }

 private:
  struct Free {
    void operator()(gguf_context* file) const { gguf_free(file); }
    void operator()(ggml_context* weights) const { ggml_free(weights); }
  };
  const std::string arch_;
  std::unique_ptr<gguf_context, Free> file_{gguf_init_empty()};
  std::unique_ptr<ggml_context, Free> weights_{ggml_init({16u << 20, nullptr, false})};
  std::mt19937 random_{7};
};

void attention_layers(Writer& w, std::uint32_t layers, bool ffn_norm) {
  w.number("block_count", layers);
  w.number("feed_forward_length", kFeedForward);
  w.number("attention.head_count", kHeads);
  w.number("attention.head_count_kv", kKvHeads);
  w.number("rope.dimension_count", kHeadSize);
  for (std::uint32_t i = 0; i < layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    w.norm(layer + "attn_norm.weight");
    w.matrix(layer + "attn_q.weight", kEmbd, kEmbd);
    w.matrix(layer + "attn_k.weight", kEmbd, kKvHeads * kHeadSize);
    w.matrix(layer + "attn_v.weight", kEmbd, kKvHeads * kHeadSize);
    w.matrix(layer + "attn_output.weight", kEmbd, kEmbd);
    if (ffn_norm) w.norm(layer + "ffn_norm.weight");
    w.matrix(layer + "ffn_gate.weight", kEmbd, kFeedForward);
    w.matrix(layer + "ffn_up.weight", kEmbd, kFeedForward);
    w.matrix(layer + "ffn_down.weight", kFeedForward, kEmbd);
  }
}

void mamba_layers(Writer& w, std::uint32_t layers) {
  w.number("block_count", layers);
  w.number("feed_forward_length", 0);
  w.number("attention.head_count", 0);
  w.number("ssm.conv_kernel", kConv);
  w.number("ssm.inner_size", kInner);
  w.number("ssm.state_size", kState);
  w.number("ssm.time_step_rank", kRank);
  for (std::uint32_t i = 0; i < layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    w.norm(layer + "attn_norm.weight");
    w.matrix(layer + "ssm_in.weight", kEmbd, 2 * kInner);
    w.tensor(layer + "ssm_conv1d.weight", {kConv, kInner}, 0.5f);
    w.tensor(layer + "ssm_conv1d.bias", {kInner}, 0.1f);
    w.matrix(layer + "ssm_x.weight", kInner, kRank + 2 * kState);
    w.matrix(layer + "ssm_dt.weight", kRank, kInner);
    w.tensor(layer + "ssm_dt.bias", {kInner}, 0.1f);
    w.tensor(layer + "ssm_a", {kState, kInner}, 0.05f, -1.0f);
    w.tensor(layer + "ssm_d", {kInner}, 0.1f, 1.0f);
    w.matrix(layer + "ssm_out.weight", kInner, kEmbd);
  }
}

}   // namespace

std::string make_tiny_model(TinyModel kind) {
  const bool llama = kind == TinyModel::kAttention || kind == TinyModel::kNoByteTokens;
  const char* const arch = llama ? "llama" : kind == TinyModel::kSlidingWindow ? "cohere2" : "mamba";
  const std::string path =
      ::testing::TempDir() + "tiny-" + arch + "-" + std::to_string(static_cast<int>(kind)) + "-" + std::to_string(::getpid()) + ".gguf";
  Writer w(arch);
  w.number("context_length", 4096);
  w.number("embedding_length", kEmbd);
  w.number("vocab_size", kTinyVocabTokens);
  w.vocabulary(kind != TinyModel::kNoByteTokens);
  w.tensor("token_embd.weight", {kEmbd, kTinyVocabTokens}, 1.0f);
  w.norm("output_norm.weight");
  if (kind == TinyModel::kRecurrent) {
    w.real("attention.layer_norm_rms_epsilon", 1e-5f);
    mamba_layers(w, 2);
  } else if (llama) {
    w.real("attention.layer_norm_rms_epsilon", 1e-5f);
    attention_layers(w, 2, true);
  } else {
    w.real("attention.layer_norm_epsilon", 1e-5f);
    w.real("logit_scale", 1.0f);
    w.number("attention.sliding_window", kTinyWindowTokens);
    attention_layers(w, 4, false);
  }
  w.write(path);
  return path;
}

}   // namespace tensorcache::testing
