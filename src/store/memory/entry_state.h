// The state word of an entry: its references, whether the policy holds it, and whether it is gone.
// Checked in models/entry_state.pml.
//
// State     in the index   in the policy's list   flags     changes to
// filling   no             no                     -         linked (link), freed (last drop)
// linked    yes            yes                    kLinked   popped (pop), gone (retire...)
// popped    yes            no, evictor pins it    -         parked, gone (park_or_retire, ...)
// parked    yes            no                     kParked   linked (relink), gone (retire...)
// gone      no             no                     kGone     freed (last drop)
//
// Transition        from -> to                        lock           note
// link              filling -> linked                 shard, policy  after Policy::insert
// pop               linked -> popped, + pin           policy         after Policy::pop, at once
// park_or_retire    popped -> parked | gone           shard          parked if others refer to it
// relink            parked -> linked                  policy         after Policy::restore, at once
// retire_if_alone   any in the index -> gone, + pin   shard          refused if it has children
// retire            any in the index -> gone, + pin   shard          descendants follow, or expired
// leave_policy      gone: clears kLinked, kParked     shard, policy  after Policy::erase if kLinked
// acquire           + pin or + child                  read section   refused, taken back, if gone
// pin               + pin                             shard, or a pin
// drop, drop_pin    - pin or - child                  none           parked: relink before the last
// set_mark          + mark                            shard, of it or of a descendant
//
// A mark is scratch of the one walk over the index; what that takes out keeps kMarkForget.
//
// Invariant: an entry in the policy's list shows kLinked or kParked to whoever holds no lock, from
// link() until leave_policy() or pop(). Whoever sees neither under the shard's lock may therefore
// leave the policy alone.
#pragma once

#include <atomic>
#include <cstdint>

namespace tensorcache::memory {

inline constexpr std::uint64_t kPin = 1;                                // 28 bits of pins
inline constexpr std::uint64_t kChild = std::uint64_t{1} << 28;         // 27 bits of children
inline constexpr std::uint64_t kMaxChildren = std::uint64_t{1} << 26;   // more are refused
inline constexpr std::uint64_t kReferences = (std::uint64_t{1} << 55) - 1;
inline constexpr std::uint64_t kChained = std::uint64_t{1} << 55;      // has a parent; a draft's may not be stored yet
inline constexpr std::uint64_t kExpires = std::uint64_t{1} << 56;      // has a time to live
inline constexpr std::uint64_t kPooled = std::uint64_t{1} << 57;       // the value lies in a pooled buffer
inline constexpr std::uint64_t kDetached = std::uint64_t{1} << 58;     // outside the budget
inline constexpr std::uint64_t kLinked = std::uint64_t{1} << 59;       // the policy holds it
inline constexpr std::uint64_t kParked = std::uint64_t{1} << 60;       // the policy chose it, but it was referred to
inline constexpr std::uint64_t kMarkKeep = std::uint64_t{1} << 61;     // scratch of a walk (forget_where)
inline constexpr std::uint64_t kMarkForget = std::uint64_t{1} << 62;   // likewise
inline constexpr std::uint64_t kGone = std::uint64_t{1} << 63;         // not in the index: never served again
inline constexpr std::uint64_t kMarks = kMarkKeep | kMarkForget;

class EntryState {
 public:
  [[nodiscard]] bool has(std::uint64_t flags) const { return (word_.load(std::memory_order_acquire) & flags) != 0; }
  [[nodiscard]] bool is_referred_to() const { return (word_.load() & kReferences) != 0; }
  [[nodiscard]] std::uint64_t children() const { return (word_.load() & kReferences) / kChild; }
  [[nodiscard]] std::uint64_t marks() const { return word_.load() & kMarks; }

  // Before the entry is published: kChained, kPooled, kDetached, kExpires.
  void set_trait(std::uint64_t flag) { word_.store(word_.load(std::memory_order_relaxed) | flag, std::memory_order_relaxed); }

  // In the policy's hands.
  void link() { word_.fetch_or(kLinked); }
  void pop() { word_.fetch_add(kPin - kLinked); }
  void relink() { word_.fetch_xor(kParked | kLinked); }
  void leave_policy() { word_.fetch_and(~(kLinked | kParked)); }

  // Out of the index.
  // False: parked, as others refer to it too, or gone already.
  [[nodiscard]] bool park_or_retire() {
    std::uint64_t state = word_.load();
    for (;;) {
      if ((state & kGone) != 0) return false;
      const bool alone = (state & kReferences) == kPin;
      if (word_.compare_exchange_weak(state, state | (alone ? kGone : kParked))) return alone;
    }
  }
  [[nodiscard]] bool retire_if_alone() {   // false: others are chained behind it
    std::uint64_t state = word_.load();
    do {
      if ((state & kReferences) >= kChild) return false;
    } while (!word_.compare_exchange_weak(state, (state + kPin) | kGone));
    return true;
  }
  void retire() { word_.fetch_add(kPin + kGone); }   // one that is not gone

  // References.
  [[nodiscard]] bool acquire(std::uint64_t unit) {   // false: it is gone
    if ((word_.fetch_add(unit) & kGone) == 0) return true;
    word_.fetch_sub(unit);   // never the last: who took it out pins it until this section is over
    return false;
  }
  void pin() { word_.fetch_add(kPin); }
  // The usual way to let go of a pin, and a short one. False: drop() is needed.
  [[nodiscard]] bool drop_pin() {
    std::uint64_t state = word_.load(std::memory_order_relaxed);
    return (state & (kGone | kParked)) == 0 && word_.compare_exchange_strong(state, state - kPin);
  }
  enum class Dropped : std::uint8_t { kNotLast, kLastOfGone, kMustRelink };
  // kMustRelink: nothing was dropped; it is the last reference of a parked entry.
  [[nodiscard]] Dropped drop(std::uint64_t unit) {
    std::uint64_t state = word_.load();
    for (;;) {
      const bool last = (state & kReferences) == unit;
      if (last && (state & kParked) != 0) return Dropped::kMustRelink;
      if (word_.compare_exchange_weak(state, state - unit)) return last && (state & kGone) != 0 ? Dropped::kLastOfGone : Dropped::kNotLast;
    }
  }

  void set_mark(std::uint64_t mark) { word_.fetch_or(mark); }
  void clear_marks() { word_.fetch_and(~kMarks); }

 private:
  std::atomic<std::uint64_t> word_{0};
};

}   // namespace tensorcache::memory
