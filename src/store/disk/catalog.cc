#include "store/disk/catalog.h"

#include <utility>

namespace tensorcache::disk {

bool Catalog::holds(const Key& key, const Place& place) const {
  const Id id = index_.find(key);
  return id != Index::kNone && index_[id].place == place;
}

Catalog::Id Catalog::insert(const Key& key, const Place& place, const EntryClass& entry_class, Id parent) {
  const Id id = index_.insert(key, place, entry_class, parent);
  value_bytes_ += place.value_bytes;
  segments_.add_live(place.segment);
  return id;
}

void Catalog::move(Id id, const Place& place) {
  segments_.add_live(place.segment);
  segments_.drop_live(index_[id].place.segment);
  index_[id].place = place;
}

std::uint64_t Catalog::erase(Id id, std::vector<Place>* places, std::size_t most, const std::function<void(const EntryClass&)>& seen) noexcept {
  std::uint64_t gone = 0;
  index_.erase(id, most, [&](const Index& index, Id each) {
    if (seen) seen(index.class_of(each));
    const Place& place = index[each].place;
    if (places != nullptr && places->size() < places->capacity()) places->push_back(place);
    value_bytes_ -= place.value_bytes;
    segments_.drop_live(place.segment);
    ++gone;
  });
  return gone;
}

std::uint64_t Catalog::forget(Id id, SegmentTable::Id going) noexcept {
  std::uint64_t gone = 0;
  index_.erase(id, SIZE_MAX, [&](const Index& index, Id each) {
    const Place& place = index[each].place;
    value_bytes_ -= place.value_bytes;
    segments_.drop_live(place.segment);
    if (place.segment != going) segments_.add_unlisted(place.segment, 1);
    ++gone;
  });
  return gone;
}

void Catalog::erase_all(Index& dropped) noexcept {
  std::swap(dropped, index_);
  value_bytes_ = 0;
  segments_.drop_all_live();
}

void Catalog::reset(Index& dropped, SegmentTable& segments) noexcept {
  std::swap(dropped, index_);
  std::swap(segments, segments_);
  value_bytes_ = 0;
}

}   // namespace tensorcache::disk
