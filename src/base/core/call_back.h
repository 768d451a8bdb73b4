// Calls callbacks given by a caller.
#pragma once

#include <utility>

namespace tensorcache {

// Swallows the callback's exceptions: they are the caller's, but this thread and this point of the
// work are not.
template <class Function, class... Arguments>
void call_back(const Function& function, Arguments&&... arguments) noexcept {
  try {
    function(std::forward<Arguments>(arguments)...);
  } catch (...) {   // NOLINT
  }
}

}   // namespace tensorcache
