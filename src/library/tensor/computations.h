// One computation of a key at a time, over all threads that ask a TensorCache for it.
#pragma once

#include <memory>

#include "base/core/single_flight.h"
#include "library/tensor/value_format.h"
#include "tensorcache/key.h"

namespace tensorcache::tensor {

using Computations = SingleFlight<Key, std::shared_ptr<const StoredValue>>;

}   // namespace tensorcache::tensor
