// Implements Handle and Reservation.
#include <utility>

#include "store/memory/memory_tier.h"

namespace tensorcache {

void Handle::unpin() { tier_->unpin(std::exchange(entry_, nullptr)); }

std::span<const std::byte> Handle::bytes() const {
  return entry_ == nullptr ? std::span<const std::byte>() : std::span<const std::byte>(memory::data_of(*entry_), entry_->value_bytes());
}

std::string_view Handle::text() const {
  const auto value = bytes();
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

std::chrono::milliseconds Handle::age() const { return entry_ == nullptr ? std::chrono::milliseconds(0) : entry_->lifetime.age(tier_->now()); }

std::vector<std::span<const std::byte>> PrefixMatch::blocks() const {
  std::vector<std::span<const std::byte>> blocks(size_);
  const memory::Entry* entry = size_ == 0 ? nullptr : &memory::MemoryTier::entry_of(last_);
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block, entry = entry->above()) {
    if (entry == nullptr) return {};   // keys that did not tell what came before them
    *block = {memory::data_of(*entry), entry->value_bytes()};
  }
  return blocks;
}

Reservation::Reservation(Reservation&& other) noexcept
    : tier_(other.tier_),
      entry_(std::exchange(other.entry_, nullptr)),
      status_(other.status_),
      parent_(other.parent_),
      hints_(other.hints_),
      replaces_(other.replaces_),
      urgent_(other.urgent_) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  std::swap(tier_, other.tier_);   // what this held goes with `other`
  std::swap(entry_, other.entry_);
  std::swap(status_, other.status_);
  std::swap(parent_, other.parent_);
  std::swap(hints_, other.hints_);
  std::swap(replaces_, other.replaces_);
  std::swap(urgent_, other.urgent_);
  return *this;
}

Reservation::~Reservation() {
  if (entry_ != nullptr) tier_->discard(entry_);
}

std::span<std::byte> Reservation::bytes() const {
  return entry_ == nullptr ? std::span<std::byte>() : std::span<std::byte>(memory::data_of(*entry_), entry_->value_bytes());
}

}   // namespace tensorcache
