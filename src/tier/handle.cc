// Handle and Draft: what callers hold.
#include <utility>

#include "tier/memory_tier.h"

namespace tensorcache {

Handle::Handle(std::shared_ptr<detail::MemoryTier> tier, detail::Entry* entry) : tier_(std::move(tier)), entry_(entry) {}

Handle::Handle(Handle&& other) noexcept : tier_(std::move(other.tier_)), entry_(std::exchange(other.entry_, nullptr)) {}

Handle& Handle::operator=(Handle&& other) noexcept {
  if (this != &other) {
    reset();
    tier_ = std::move(other.tier_);
    entry_ = std::exchange(other.entry_, nullptr);
  }
  return *this;
}

Handle::~Handle() { reset(); }

void Handle::reset() {
  if (entry_ == nullptr) return;
  tier_->unpin(std::exchange(entry_, nullptr));
  tier_.reset();
}

std::span<const std::byte> Handle::bytes() const {
  return entry_ == nullptr ? std::span<const std::byte>() : std::span<const std::byte>(entry_->data, entry_->value_bytes);
}

std::string_view Handle::text() const {
  const auto value = bytes();
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

std::chrono::milliseconds Handle::age() const { return entry_ == nullptr ? std::chrono::milliseconds(0) : entry_->age(tier_->now()); }

Draft::Draft(Draft&& other) noexcept
    : tier_(std::move(other.tier_)), entry_(std::exchange(other.entry_, nullptr)), status_(other.status_), parent_(other.parent_) {}

Draft& Draft::operator=(Draft&& other) noexcept {
  std::swap(tier_, other.tier_);   // what this held goes with `other`
  std::swap(entry_, other.entry_);
  std::swap(status_, other.status_);
  std::swap(parent_, other.parent_);
  return *this;
}

Draft::~Draft() {
  if (entry_ != nullptr) tier_->discard(entry_);
}

std::span<std::byte> Draft::bytes() const {
  return entry_ == nullptr ? std::span<std::byte>() : std::span<std::byte>(entry_->data, entry_->value_bytes);
}

}   // namespace tensorcache
