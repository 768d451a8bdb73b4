#include "store/disk/write_queue.h"

namespace tensorcache::disk {

void WriteQueue::prepare(const Value& value, Queued** queued, std::uint32_t** children) {
  *queued = &queued_.try_emplace(value.key).first->second;
  if (!value.parent) return;
  try {
    *children = &children_.try_emplace(*value.parent).first->second;
  } catch (...) {
    forget_unused(value);
    throw;
  }
}

void WriteQueue::forget_unused(const Value& value) noexcept {
  if (const auto queued = queued_.find(value.key); queued != queued_.end() && queued->second.count == 0) queued_.erase(queued);
  if (!value.parent) return;
  if (const auto children = children_.find(*value.parent); children != children_.end() && children->second == 0) children_.erase(children);
}

void WriteQueue::commit(Writes& node, Queued* queued, std::uint32_t* children) noexcept {
  const Write& write = node.front();
  ++queued->count;
  queued->last = write.number;
  queued->expires = write.value.expires_unix_ms != 0;
  if (children != nullptr) ++*children;
  bytes_ += write.value.bytes.size();
  waiting_.splice(waiting_.end(), node);
}

void WriteQueue::ask(Writes& node, std::uint64_t number) noexcept {
  node.front().number = number;
  waiting_.splice(waiting_.end(), node);
}

std::uint64_t WriteQueue::last_number(const Key& key) const {
  const auto queued = queued_.find(key);
  return queued == queued_.end() ? 0 : queued->second.last;
}

std::uint64_t WriteQueue::take(Writes& to) noexcept {
  const std::uint64_t bytes = waiting_.front().value.bytes.size();
  to.splice(to.end(), waiting_, waiting_.begin());
  return bytes;
}

void WriteQueue::done(const Write& write) noexcept {
  bytes_ -= write.value.bytes.size();
  const auto queued = queued_.find(write.value.key);
  if (--queued->second.count == 0) queued_.erase(queued);
  if (!write.value.parent) return;
  const auto children = children_.find(*write.value.parent);
  if (--children->second == 0) children_.erase(children);
}

}   // namespace tensorcache::disk
