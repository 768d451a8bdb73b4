// Calls callbacks given by a caller.
#pragma once

#include <utility>

namespace tensorcache {

// Drops what it throws: that is the caller's own affair, and happens on a thread, or in the middle
// of something, that is not the caller's.
template <class Function, class... Arguments>
void call_back(const Function& function, Arguments&&... arguments) noexcept {
  try {
    function(std::forward<Arguments>(arguments)...);
  } catch (...) {   // NOLINT
  }
}

}   // namespace tensorcache
