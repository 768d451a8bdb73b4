// The library in a C++ program: a small network's logits under the tokens they were computed from, in memory and on disk, asked for by
// several threads.
//
// Shows: typed tensors, one computation a key, a second start that computes nothing. Does not show: a trained network; its weights are random.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>

#include "tensorcache/tensor_cache.h"

namespace {

constexpr std::int64_t kVocabulary = 8000, kWidth = 256;

struct Network {
  Network() : weights(kVocabulary * kWidth) {
    std::mt19937 random(1);
    for (float& weight : weights) weight = std::normal_distribution<float>(0, 1 / std::sqrt(float{kWidth}))(random);
  }
  // Logits of the next token, [kVocabulary] float32: the mean of the tokens' embeddings against every embedding.
  tensorcache::Tensor run(const std::vector<std::int32_t>& tokens) {
    ++runs;
    std::vector<float> state(kWidth), logits(kVocabulary);
    for (const std::int32_t token : tokens) {
      for (std::int64_t i = 0; i < kWidth; ++i) state[i] += weights[token * kWidth + i] / float(tokens.size());
    }
    for (std::int64_t v = 0; v < kVocabulary; ++v) {
      for (std::int64_t i = 0; i < kWidth; ++i) logits[v] += state[i] * weights[v * kWidth + i];
    }
    return tensorcache::Tensor(tensorcache::TensorView::of(std::span<const float>(logits), {kVocabulary}));
  }
  std::vector<float> weights;
  std::atomic<int> runs{0};
};

double work(tensorcache::TensorCache& cache, Network& network) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::int32_t n = 0; n < 400; ++n) {   // 40 different prompts
        const std::vector<std::int32_t> tokens = {n % 40, 7, 8, 9};
        const tensorcache::Hit hit = cache.get_or_compute(tokens, [&] { return network.run(tokens); });
        if (hit.tensor().count() != kVocabulary) std::abort();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

}   // namespace

int main() {
  const auto folder = std::filesystem::temp_directory_path() / ("tensor_program-" + std::to_string(std::random_device{}()));
  tensorcache::CacheOptions store{.capacity_bytes = 64 << 20};
  store.disk.emplace().directory = folder.string();
  Network network;
  for (const char* start : {"first start", "second start"}) {
    tensorcache::TensorCache cache({.store = store});
    const double took = work(cache, network);
    std::cout << start << ": 1600 questions in " << took << " ms, " << network.runs << " runs of the network so far\n";
    cache.flush(std::chrono::seconds(10));
  }
  std::filesystem::remove_all(folder);
  return network.runs == 40 ? 0 : 1;
}
