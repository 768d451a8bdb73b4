// get_or_compute: one computation a key, refreshes in the background, batches.
#include <cstring>
#include <new>
#include <stdexcept>
#include <unordered_map>

#include "tensor/impl.h"

namespace tensorcache {
namespace {

// A value outside the store, for those who must get it although it is not, or no longer, stored.
Hit detached(const tensor::Encoder& encoder) {
  auto* memory = static_cast<std::byte*>(::operator new(encoder.bytes(), std::align_val_t{64}));
  const std::shared_ptr<const std::byte[]> own(
      memory, [](const std::byte* bytes) { ::operator delete(const_cast<std::byte*>(bytes), std::align_val_t{64}); });
  encoder.write({memory, encoder.bytes()});
  auto value = tensor::decode({memory, encoder.bytes()});
  value->own = own;
  return Hit(std::make_shared<const tensor::StoredValue>(std::move(*value)));
}

}   // namespace

Hit TensorCache::Impl::store_computed(Lead& lead, const Key& key, const std::optional<Tensor>& computed, std::uint64_t as_of, std::uint64_t replaces,
                                      const ComputeOptions& options) {
  AddOptions add = options;
  if (!computed) add.time_to_live = options.negative_time_to_live, add.stale_for = {};
  tensor::ValueHead head{.as_of = as_of, .fresh_for = add.time_to_live, .negative = !computed};
  for (const std::string& tag : options.tags) head.tags.push_back(tensor::tag_id(tag));
  TensorView view;
  if (computed) view = computed->view();
  tensor::Encoder encoder(std::move(head), std::span(&view, computed ? 1 : 0), {});
  Hit result;
  std::vector<Key> excess;
  {
    const std::shared_lock whole(clearing);
    const std::lock_guard lock(stripe(key));
    const ValuePtr current = find(key);
    if (current && current->head.version != replaces) {
      result = Hit(current);   // written while this was computed: newer
    } else if (!lead.is_forgotten() && (computed || options.negative_time_to_live.count() > 0)) {
      const WriteResult written = write_locked(key, encoder, add);
      (written ? counters.writes : counters.rejected_writes).fetch_add(1, std::memory_order_relaxed);
      if (written) {
        excess = limit.insert(key);
        result = Hit(find(key));
      }
    }
  }
  remove_all(excess);
  if (result.version() == 0) result = detached(encoder);
  lead.land(result);
  return result;
}

Hit TensorCache::Impl::compute(Lead& lead, const Key& key, const Compute& function, std::uint64_t replaces, const ComputeOptions& options) {
  const std::uint64_t as_of = shared->next_version();
  counters.computations.fetch_add(1, std::memory_order_relaxed);
  try {
    return store_computed(lead, key, function(), as_of, replaces, options);
  } catch (...) {
    counters.failed_computations.fetch_add(1, std::memory_order_relaxed);
    throw;
  }
}

void TensorCache::Impl::refresh(const Key& key, const Compute& function, std::uint64_t version, const ComputeOptions& options) {
  std::optional<Lead> lead = computations.lead(key);
  if (!lead) return;
  counters.refreshes.fetch_add(1, std::memory_order_relaxed);
  refresher.post([this, key, function, version, options, lead = std::make_shared<Lead>(std::move(*lead))] {
    try {
      static_cast<void>(compute(*lead, key, function, version, options));
    } catch (...) {   // NOLINT: compute() counts it; the stale value is served on, and the next to meet it tries again
    }
  });
}

Hit TensorCache::get_or_compute(const ItemKey& item, const Compute& compute, const ComputeOptions& options) {
  const Key key = impl_->in_store(item.key());
  Hit hit = impl_->get(key);
  if (hit.version() != 0) {
    if (hit.stale()) impl_->refresh(key, compute, hit.version(), options);
    return hit;
  }
  auto joined = impl_->computations.join(key);
  if (auto* landed = std::get_if<Hit>(&joined)) return *landed;
  auto& lead = std::get<Impl::Lead>(joined);
  // Somebody may have stored it between this caller's miss and its turn.
  if (Impl::ValuePtr stored = impl_->look(key)) {
    lead.land(Hit(stored));
    return Hit(std::move(stored));
  }
  return impl_->compute(lead, key, compute, 0, options);
}

std::vector<Hit> TensorCache::get_or_compute_many(std::span<const ItemKey> items, const ComputeMany& compute, const AddOptions& options) {
  std::vector<Hit> hits = get_many(items);
  std::vector<std::size_t> led, followed;
  std::vector<Impl::Lead> leads;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (hits[i]) continue;
    const Key key = impl_->in_store(items[i].key());
    std::optional<Impl::Lead> lead = impl_->computations.lead(key);
    if (!lead) {
      followed.push_back(i);
    } else if (Impl::ValuePtr stored = impl_->look(key); stored && !stored->head.negative) {
      hits[i] = Hit(stored);
      lead->land(hits[i]);
    } else {
      led.push_back(i);
      leads.push_back(std::move(*lead));
    }
  }
  const ComputeOptions compute_options{options, {}};
  const auto run = [&](std::span<const std::size_t> missing, std::span<Impl::Lead> whose) {
    const std::uint64_t as_of = impl_->shared->next_version();
    impl_->counters.computations.fetch_add(missing.size(), std::memory_order_relaxed);
    const std::vector<Tensor> computed = compute(missing);
    if (computed.size() != missing.size()) throw std::invalid_argument("compute: must return one tensor for each index it was given");
    for (std::size_t i = 0; i < missing.size(); ++i) {
      const Key key = impl_->in_store(items[missing[i]].key());
      const Impl::ValuePtr there = impl_->find(key);   // "there is nothing" gives way to a value
      hits[missing[i]] =
          impl_->store_computed(whose[i], key, computed[i], as_of, there && there->head.negative ? there->head.version : 0, compute_options);
    }
  };
  // What this thread leads comes first, so that two batches never wait for each other.
  if (!led.empty()) run(led, leads);
  std::unordered_map<Key, std::size_t> first;
  for (const std::size_t i : led) first.emplace(items[i].key(), i);
  for (const std::size_t& i : followed) {
    if (const auto same = first.find(items[i].key()); same != first.end()) {
      hits[i] = hits[same->second];
      continue;
    }
    const Key key = impl_->in_store(items[i].key());
    auto joined = impl_->computations.join(key);
    if (auto* landed = std::get_if<Hit>(&joined)) {
      hits[i] = *landed;
      continue;
    }
    auto& lead = std::get<Impl::Lead>(joined);
    if (Impl::ValuePtr stored = impl_->look(key); stored && !stored->head.negative) {
      hits[i] = Hit(stored);
      lead.land(hits[i]);
    } else {
      run(std::span(&i, 1), std::span(&lead, 1));
    }
  }
  return hits;
}

}   // namespace tensorcache
