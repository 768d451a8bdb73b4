#include "serving/answer/answer_key.h"

#include <span>

namespace tensorcache::answer {
namespace {

void add_sampling(KeyBuilder& key, const engine::Sampling& sampling) {
  const auto& [temperature, top_p, min_p, top_k, seed, presence, frequency, repeat, logit_bias] = sampling;
  key.field("temperature", double{temperature})
      .field("top_p", double{top_p})
      .field("min_p", double{min_p})
      .field("top_k", top_k)
      .field("has_seed", seed.has_value())
      .field("seed", std::uint64_t{seed.value_or(0)})
      .field("presence_penalty", double{presence})
      .field("frequency_penalty", double{frequency})
      .field("repeat_penalty", double{repeat})
      .field("logit_bias", std::uint64_t{logit_bias.size()});
  for (const auto& [token, bias] : logit_bias) key.field("token", token).field("bias", double{bias});
}

}   // namespace

Key answer_key(const engine::Request& request, const Key& answer_fingerprint, std::string_view salt) {
  // Names every member: a new member of Request does not compile until it is decided whether it
  // belongs into the key.
  const auto& [kind, tenant, messages, prompt, prompt_tokens, sampling, max_tokens, stop, logprobs, top_logprobs,
               /* not in the key: they change what is computed, not what comes out */ use_prefix_cache, store_prefix, ends_conversation, hints] =
      request;
  static_cast<void>(use_prefix_cache);
  static_cast<void>(store_prefix);
  static_cast<void>(ends_conversation);
  static_cast<void>(hints);

  KeyBuilder key("answer/1");
  key.field("engine", answer_fingerprint)
      .field("salt", salt)
      .field("tenant", std::string_view(tenant))
      .field("kind", static_cast<int>(kind))
      .field("messages", std::uint64_t{messages.size()});
  for (const auto& [role, content, name] : messages)
    key.field("role", std::string_view(role)).field("content", std::string_view(content)).field("name", std::string_view(name));
  key.field("prompt", std::string_view(prompt)).field("prompt_tokens", std::span<const std::int32_t>(prompt_tokens));
  add_sampling(key, sampling);
  key.field("max_tokens", max_tokens).field("stop", std::uint64_t{stop.size()});
  for (const std::string& text : stop) key.field("stop", std::string_view(text));
  key.field("logprobs", logprobs).field("top_logprobs", top_logprobs);
  return key.build();
}

}   // namespace tensorcache::answer
