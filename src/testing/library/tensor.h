// What tests of TensorCache share.
#pragma once

#include <chrono>
#include <string>
#include <thread>

#include "tensorcache/tensor_cache.h"

namespace tensorcache::testing {

inline std::string text_of(const Hit& hit) { return hit ? std::string(hit.tensor().characters()) : "(nothing)"; }

// Whether it comes true within some seconds.
template <class Condition>
bool soon(const Condition& condition) {
  for (int i = 0; i < 5000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return condition();
}

}   // namespace tensorcache::testing
