// Orders values by the value of keeping them, as learned by a ReuseModel; used for the real values
// and for those of a shadow.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "store/policy/policy.h"
#include "store/policy/pool.h"
#include "store/policy/reuse_model.h"

namespace tensorcache::policy {

// What the order and its users note in a node, beside its links.
[[nodiscard]] inline auto& value_class(auto& node) { return node.tag; }   // of ReuseModel
[[nodiscard]] inline auto& used_by(auto& node) { return node.stamp; }     // the request that used it last
[[nodiscard]] inline auto& use_count(auto& node) { return node.count; }   // the users' own

// Values of a class that one request used last grow old together: they are a batch, and only
// batches are moved as time goes by.
class ExpectedValueOrder {
  [[nodiscard]] static auto& batch_age(auto& batch) { return batch.side; }

 public:
  explicit ExpectedValueOrder(const ReuseModel& model) : model_(model), lists_(kClasses * kAges) {}
  ExpectedValueOrder(const ExpectedValueOrder&) = delete;
  ExpectedValueOrder& operator=(const ExpectedValueOrder&) = delete;
  void use_memory(MemoryAccount& account) { pool_.use_memory(account); }   // before anything is put in
  void shed() noexcept { pool_.shed(); }

  // Takes it in: of its batch the last to go, or the first. Without memory for its batch it joins
  // others, of whatever class.
  void put_last(PolicyNode& node) noexcept;
  void put_first(PolicyNode& node) noexcept;
  void take(PolicyNode& node) noexcept;
  // Null if there is none. It stays.
  [[nodiscard]] PolicyNode* least_worth();
  // Whether one of this class that is used now is worth less than every one here.
  [[nodiscard]] bool is_worth_least(std::uint8_t of_class);
  // By the last use, those that are over before all others.
  [[nodiscard]] PolicyNode* oldest();
  // Of those of the request at hand, the first to go; null if there is none.
  [[nodiscard]] PolicyNode* present();
  // Those of the request at hand that had no batch of their own join this class: there may be no
  // memory to part them.
  void end_present_spare(std::uint8_t to) noexcept;
  // It is request `now` from here on.
  void advance_to(std::uint32_t now);
  // The model has learned.
  void on_ranking_changed();

 private:
  static constexpr std::size_t kClasses = ReuseModel::kClasses, kAges = ReuseModel::kAges;
  static constexpr std::size_t kWords = kClasses / 64;
  struct Batch : PolicyNode {                    // the ring of its nodes begins and ends with itself; `next` is the first to go
    Batch *sooner = nullptr, *later = nullptr;   // of its class and age
  };
  struct List {
    Batch *first = nullptr, *last = nullptr;   // to go
  };
  [[nodiscard]] static std::size_t slot(std::size_t c, std::size_t age) { return c * kAges + age; }
  List& list(const Batch& batch) { return lists_[slot(value_class(batch), batch_age(batch))]; }
  Batch& batch_of(const PolicyNode& node) noexcept;
  void link(Batch& batch, bool is_last) noexcept;
  void unlink(Batch& batch) noexcept;
  void release(Batch& batch) noexcept;
  // The first in use; places_.size() if none is.
  std::size_t first_word();
  void mark(std::size_t c, std::size_t age);
  template <class Do>
  void for_classes(std::size_t age, const Do& with) const;

  const ReuseModel& model_;
  Pool<Batch> pool_;
  Batch spare_;                             // for all that there is no memory for
  std::array<Batch*, kClasses> newest_{};   // by class: the batch that was made last, if it is still there
  std::vector<List> lists_;
  std::array<std::array<std::uint64_t, kWords>, kAges> classes_{};   // by age: a bit for each class that has such values
  std::uint64_t ages_ = 0, ages_over_ = 0;                           // a bit for each age that any has; that values that are over have
  std::array<std::uint64_t, kClasses * kAges / 64> places_{};        // a bit for each place in the model's order
  std::size_t first_place_ = 0;                                      // of places_: before it all are 0
  std::uint32_t now_ = 0;                                            // requests
  std::uint32_t puts_ = 0;                                           // since ages were looked at
  std::array<std::uint32_t, kAges> looked_at_{};                     // by age: when it was made sure that none is older
};

}   // namespace tensorcache::policy
