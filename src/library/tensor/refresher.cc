#include "library/tensor/refresher.h"

#include <utility>

namespace tensorcache::tensor {

bool Refresher::post(const Key& key, std::function<void()> job) {
  const std::lock_guard lock(mutex_);
  if (stopping_ || keys_.contains(key)) return true;
  if (jobs_.size() >= kMaxWaiting) return false;
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  jobs_.push_back({key, std::move(job)});
  try {
    keys_.insert(key);
  } catch (...) {
    jobs_.pop_back();
    throw;
  }
  changed_.notify_one();
  return true;
}

std::uint64_t Refresher::waiting() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size();
}

void Refresher::stop() {
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    thread = std::move(thread_);
  }
  changed_.notify_all();
  if (thread.joinable()) thread.join();
}

void Refresher::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job.run();
    job.run = nullptr;   // destroys its captures without the lock
    lock.lock();
    keys_.erase(job.key);
  }
}

}   // namespace tensorcache::tensor
