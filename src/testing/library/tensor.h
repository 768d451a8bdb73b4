// What tests of TensorCache share.
#pragma once

#include <string>

#include "tensorcache/tensor_cache.h"

namespace tensorcache::testing {

inline std::string text_of(const Hit& hit) { return hit ? std::string(hit.tensor().characters()) : "(nothing)"; }

}   // namespace tensorcache::testing
