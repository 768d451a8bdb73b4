// The list of policies, one file each. Code other than policies.cc finds them by name:
// make_policy().
#pragma once

#include <memory>

#include "store/policy/policy.h"

namespace tensorcache::policy {

std::unique_ptr<Policy> make_adaptive();
std::unique_ptr<Policy> make_arc();
std::unique_ptr<Policy> make_auto();
std::unique_ptr<Policy> make_clock();
std::unique_ptr<Policy> make_fifo();
std::unique_ptr<Policy> make_gdsf();
std::unique_ptr<Policy> make_guarded();
std::unique_ptr<Policy> make_lfu();
std::unique_ptr<Policy> make_lru();
std::unique_ptr<Policy> make_s3fifo();
std::unique_ptr<Policy> make_sieve();
std::unique_ptr<Policy> make_wtinylfu();

}   // namespace tensorcache::policy
