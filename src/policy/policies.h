// The policies there are, one file each. Everybody but policy.cc asks for them by name: make_policy().
#pragma once

#include <memory>

#include "policy/policy.h"

namespace tensorcache {

std::unique_ptr<Policy> make_fifo();   // first in, first out
std::unique_ptr<Policy> make_lru();    // least recently used

}   // namespace tensorcache
