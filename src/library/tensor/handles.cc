// Implements Hit and Lease.
#include <stdexcept>
#include <string>
#include <utility>

#include "library/tensor/leases.h"
#include "library/tensor/value_format.h"
#include "tensorcache/tensor_cache.h"

namespace tensorcache {

bool Hit::unavailable() const { return value_ && value_->unavailable; }
bool Hit::negative() const { return value_ && value_->head.negative; }
std::size_t Hit::parts() const { return value_ ? value_->part_at.size() : 0; }
std::string_view Hit::structure() const { return value_ ? value_->structure : std::string_view(); }
std::uint64_t Hit::version() const { return value_ ? value_->head.version : 0; }
bool Hit::stale() const { return value_ && value_->stale; }
std::chrono::milliseconds Hit::age() const { return value_ ? value_->handle.age() : std::chrono::milliseconds(0); }

TensorView Hit::tensor(std::size_t part) const {
  if (part >= parts()) throw std::out_of_range("part " + std::to_string(part) + " of a value that has " + std::to_string(parts()));
  return value_->part(part);
}

Lease::Lease(std::shared_ptr<tensor::Leases> leases, const Key& key, std::uint64_t token) : leases_(std::move(leases)), key_(key), token_(token) {}
Lease::Lease(Lease&& other) noexcept : leases_(std::move(other.leases_)), key_(other.key_), token_(std::exchange(other.token_, 0)) {}

Lease& Lease::operator=(Lease&& other) noexcept {
  std::swap(leases_, other.leases_);   // `other` releases the old lease
  std::swap(key_, other.key_);
  std::swap(token_, other.token_);
  return *this;
}

Lease::~Lease() { release(); }

Lease::operator bool() const { return leases_ && leases_->holds(key_, token_); }

void Lease::release() {
  if (leases_) leases_->release(key_, token_);
  leases_.reset();
}

}   // namespace tensorcache
