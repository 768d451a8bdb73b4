// Tests only: a lower tier that passes every call on to another one, and counts the look-ups and
// reads.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "store/tier/lower_tier.h"

namespace tensorcache::testing {

class CountingTier final : public tier::LowerTier {
 public:
  struct Calls {
    std::atomic<int> presence{0}, knows{0}, peek{0}, chain_of{0}, read{0}, holds{0};
  };
  explicit CountingTier(std::unique_ptr<tier::LowerTier> counted) : counted_(std::move(counted)) {}
  [[nodiscard]] Calls& calls() { return calls_; }

  [[nodiscard]] tier::Presence presence(const Key& key) const override { return ++calls_.presence, counted_->presence(key); }
  [[nodiscard]] bool knows(const Key& key) const override { return ++calls_.knows, counted_->knows(key); }
  [[nodiscard]] bool has_children(const Key& key) const override { return counted_->has_children(key); }
  [[nodiscard]] std::size_t peek(std::span<const Key> chain) const override { return ++calls_.peek, counted_->peek(chain); }
  [[nodiscard]] std::uint64_t bytes_of(std::span<const Key> keys) const override { return counted_->bytes_of(keys); }
  [[nodiscard]] std::vector<Key> chain_of(const Key& key) const override { return ++calls_.chain_of, counted_->chain_of(key); }
  [[nodiscard]] std::optional<double> read_seconds(std::uint64_t bytes) const override { return counted_->read_seconds(bytes); }
  tier::ReadResult read(std::span<const Key> keys, const tier::Reserve& reserve, const tier::Accept& accept) override {
    return ++calls_.read, counted_->read(keys, reserve, accept);
  }
  [[nodiscard]] bool holds(const Key& key, const tier::Copy& copy) const override { return ++calls_.holds, counted_->holds(key, copy); }
  [[nodiscard]] std::optional<std::size_t> read_head(const Key& key, std::span<std::byte> head) const override {
    return counted_->read_head(key, head);
  }
  bool put(tier::Value value) override { return counted_->put(std::move(value)); }
  [[nodiscard]] tier::Room room(std::uint64_t value_bytes, tier::Urgency urgency) const override { return counted_->room(value_bytes, urgency); }
  bool wait_for_queue(std::uint64_t value_bytes, std::chrono::milliseconds time) const override {
    return counted_->wait_for_queue(value_bytes, time);
  }
  void when_room(std::function<void()> call) override { counted_->when_room(std::move(call)); }
  void want_room() noexcept override { counted_->want_room(); }
  bool remove(const Key& key) override { return counted_->remove(key); }
  bool wait_for_room(std::chrono::milliseconds time) const override { return counted_->wait_for_room(time); }
  std::uint64_t clear(const Selection& what, const std::function<void()>& meanwhile) override { return counted_->clear(what, meanwhile); }
  bool wait_ready(std::chrono::milliseconds time) const override { return counted_->wait_ready(time); }
  void when_written(std::function<void(bool)> done) override { counted_->when_written(std::move(done)); }
  bool flush(std::chrono::milliseconds time) override { return counted_->flush(time); }
  bool close(std::chrono::milliseconds time) override { return counted_->close(time); }
  void follow_memory(std::uint64_t capacity_bytes) override { counted_->follow_memory(capacity_bytes); }

 private:
  const std::unique_ptr<tier::LowerTier> counted_;
  mutable Calls calls_;
};

}   // namespace tensorcache::testing
