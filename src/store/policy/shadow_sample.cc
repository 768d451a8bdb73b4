#include "store/policy/shadow_sample.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

namespace tensorcache::policy {

namespace {

// Of a node in its table, with the table's share and what malloc adds.
constexpr std::uint64_t kNodeBytes = sizeof(std::pair<const std::uint64_t, PolicyNode>) + 40;
constexpr std::size_t kNodesAtOnce = 64, kMaxRefused = 1024;

}   // namespace

ShadowSample::ShadowSample(std::vector<std::unique_ptr<Policy>> policies) {
  for (auto& policy : policies) shadows_.emplace_back().policy = std::move(policy);
}

void ShadowSample::use_memory(MemoryAccount& account) {
  account_ = &account;
  for (Shadow& shadow : shadows_) shadow.policy->use_memory(account);
}

void ShadowSample::shed() {
  for (Shadow& shadow : shadows_) {
    while (!shadow.nodes.empty()) {
      PolicyNode& node = shadow.nodes.begin()->second;
      shadow.policy->erase(node);
      forget(shadow, node.hash);
    }
    shadow.policy->shed();
  }
  give_back_but(0);
}

void ShadowSample::give_back_but(std::size_t nodes) {
  if (account_ == nullptr || nodes >= allowed_) return;
  account_->give_back((allowed_ - nodes) * kNodeBytes);
  allowed_ = nodes;
}

// For one node more. What is refused may be there with a later use, so a sample is only made
// smaller where much was refused.
bool ShadowSample::has_memory() {
  if (account_ == nullptr || nodes_ < allowed_) return true;
  if (!account_->try_take(kNodesAtOnce * kNodeBytes)) {
    ++refused_;
    return false;
  }
  allowed_ += kNodesAtOnce;
  refused_ = 0;
  return true;
}

bool ShadowSample::takes(std::uint64_t hash) const { return halvings_ == 0 || (hash * 0x9E3779B97F4A7C15u) >> (64 - halvings_) == 0; }

void ShadowSample::resize(std::uint64_t capacity_bytes) {
  capacity_ = capacity_bytes;
  // Of a much smaller cache more of the keys can be watched; those come in as they are used.
  const auto few = [&](const Shadow& shadow) {
    return shadow.used > 0 && shadow.nodes.size() * (capacity_ >> halvings_) / shadow.used < kMaxNodes / 4;
  };
  while (halvings_ > 0 && std::all_of(shadows_.begin(), shadows_.end(), few)) --halvings_;
  for (Shadow& shadow : shadows_) {
    shadow.policy->resize(capacity_ >> halvings_);
    make_room(shadow, 0);
  }
}

bool ShadowSample::use(const PolicyNode& value) {
  if (!takes(value.hash)) return false;
  bool many = false;
  for (Shadow& shadow : shadows_) {
    const auto at = shadow.nodes.find(value.hash);
    shadow.found = at != shadow.nodes.end();
    if (shadow.found) {
      shadow.policy->touch(at->second);
    } else {
      insert(shadow, value);
    }
    many = many || shadow.nodes.size() > kMaxNodes;
  }
  many = many || (refused_ > kMaxRefused && nodes_ > 0);
  if (many && halvings_ < 32) halve();
  return true;
}

void ShadowSample::insert(Shadow& shadow, const PolicyNode& value) {
  if (value.charge_bytes > capacity_ >> halvings_) return;
  shadow.policy->on_reserve(value);
  make_room(shadow, value.charge_bytes);
  if (!has_memory()) return;
  try {
    PolicyNode& node = shadow.nodes[value.hash];
    node.hash = value.hash;
    node.kind = value.kind;
    node.charge_bytes = value.charge_bytes;
    node.cost_seconds = value.cost_seconds;
    shadow.policy->insert(node);
    ++nodes_;
  } catch (const std::bad_alloc&) {   // the shadows miss one use
    return;
  }
  shadow.used += value.charge_bytes;
  shadow.bytes[static_cast<std::size_t>(value.kind)] += value.charge_bytes;
}

void ShadowSample::make_room(Shadow& shadow, std::uint64_t bytes) {
  while (shadow.used + bytes > capacity_ >> halvings_) {
    const PolicyNode* node = shadow.policy->pop();
    if (node == nullptr) return;
    forget(shadow, node->hash);
  }
}

void ShadowSample::forget(Shadow& shadow, std::uint64_t hash) {
  const auto at = shadow.nodes.find(hash);
  shadow.used -= at->second.charge_bytes;
  shadow.bytes[static_cast<std::size_t>(at->second.kind)] -= at->second.charge_bytes;
  shadow.nodes.erase(at);
  --nodes_;
}

void ShadowSample::halve() {
  ++halvings_;
  for (Shadow& shadow : shadows_) {
    for (auto at = shadow.nodes.begin(); at != shadow.nodes.end();) {
      PolicyNode& node = (at++)->second;
      if (takes(node.hash)) continue;
      shadow.policy->erase(node);
      forget(shadow, node.hash);
    }
    shadow.policy->resize(capacity_ >> halvings_);
    make_room(shadow, 0);
  }
  give_back_but(nodes_);
  refused_ = 0;
}

}   // namespace tensorcache::policy
