#include "serving/answer/answer_key.h"

#include <span>

namespace tensorcache::answer {
namespace {

// Each function names every member of its struct: a new member does not compile until it is decided whether it belongs into the key.

void add_sampling(KeyBuilder& key, const engine::Sampling& sampling) {
  const auto& [temperature, top_p, min_p, top_k, seed, presence, frequency, repeat, repeat_last_n, logit_bias, typical_p, top_n_sigma,
               xtc_probability, xtc_threshold, dynatemp_range, dynatemp_exponent, dry_multiplier, dry_base, dry_allowed_length, dry_penalty_last_n,
               dry_sequence_breakers, mirostat, mirostat_tau, mirostat_eta, min_keep, ignore_eos, samplers] = sampling;
  key.field("temperature", double{temperature})
      .field("top_p", double{top_p})
      .field("min_p", double{min_p})
      .field("top_k", top_k)
      .field("has_seed", seed.has_value())
      .field("seed", std::uint64_t{seed.value_or(0)})
      .field("presence_penalty", double{presence})
      .field("frequency_penalty", double{frequency})
      .field("repeat_penalty", double{repeat})
      .field("repeat_last_n", repeat_last_n)
      .field("logit_bias", std::uint64_t{logit_bias.size()});
  for (const auto& [token, bias] : logit_bias) key.field("token", token).field("bias", double{bias});
  key.field("typical_p", double{typical_p}).field("top_n_sigma", double{top_n_sigma});
  key.field("xtc_probability", double{xtc_probability}).field("xtc_threshold", double{xtc_threshold});
  key.field("dynatemp_range", double{dynatemp_range}).field("dynatemp_exponent", double{dynatemp_exponent});
  key.field("dry_multiplier", double{dry_multiplier}).field("dry_base", double{dry_base});
  key.field("dry_allowed_length", dry_allowed_length).field("dry_penalty_last_n", dry_penalty_last_n);
  key.field("dry_sequence_breakers", std::uint64_t{dry_sequence_breakers.size()});
  for (const std::string& text : dry_sequence_breakers) key.field("breaker", std::string_view(text));
  key.field("mirostat", mirostat).field("mirostat_tau", double{mirostat_tau}).field("mirostat_eta", double{mirostat_eta});
  key.field("min_keep", min_keep).field("ignore_eos", ignore_eos).field("samplers", std::uint64_t{samplers.size()});
  for (const std::string& name : samplers) key.field("sampler", std::string_view(name));
}

void add_message(KeyBuilder& key, const engine::Message& message) {
  const auto& [role, content, name, reasoning, tool_calls, tool_call_id] = message;
  key.field("role", std::string_view(role)).field("content", std::string_view(content)).field("name", std::string_view(name));
  key.field("reasoning", std::string_view(reasoning)).field("tool_call_id", std::string_view(tool_call_id));
  key.field("tool_calls", std::uint64_t{tool_calls.size()});
  for (const auto& [id, function, arguments] : tool_calls) {
    key.field("id", std::string_view(id)).field("function", std::string_view(function)).field("arguments", std::string_view(arguments));
  }
}

void add_chat(KeyBuilder& key, const engine::ChatOptions& chat) {
  const auto& [tools, tool_choice, parallel_tool_calls, template_kwargs, thinking, separate_reasoning] = chat;
  key.field("tools", std::uint64_t{tools.size()});
  for (const auto& [name, description, parameters] : tools) {
    key.field("tool", std::string_view(name)).field("description", std::string_view(description)).field("parameters", std::string_view(parameters));
  }
  key.field("tool_choice", static_cast<int>(tool_choice));
  key.field("parallel_tool_calls", parallel_tool_calls ? static_cast<int>(*parallel_tool_calls) : -1);
  key.field("template_kwargs", std::uint64_t{template_kwargs.size()});
  for (const auto& [name, value] : template_kwargs) key.field("kwarg", std::string_view(name)).field("value", std::string_view(value));
  key.field("thinking", thinking).field("separate_reasoning", separate_reasoning);
}

}   // namespace

Key answer_key(const engine::Request& request, const Key& answer_fingerprint, std::string_view salt) {
  const auto& [kind, tenant, messages, prompt, prompt_tokens, chat, json_schema, grammar, sampling, max_tokens, stop, logprobs, top_logprobs,
               /* not in the key: they change what is computed, not what comes out */ use_prefix_cache, store_prefix, ends_conversation, hints] =
      request;
  static_cast<void>(use_prefix_cache);
  static_cast<void>(store_prefix);
  static_cast<void>(ends_conversation);
  static_cast<void>(hints);

  KeyBuilder key("answer/2");
  key.field("engine", answer_fingerprint)
      .field("salt", salt)
      .field("tenant", std::string_view(tenant))
      .field("kind", static_cast<int>(kind))
      .field("messages", std::uint64_t{messages.size()});
  for (const engine::Message& message : messages) add_message(key, message);
  add_chat(key, chat);
  key.field("json_schema", std::string_view(json_schema)).field("grammar", std::string_view(grammar));
  key.field("prompt", std::string_view(prompt)).field("prompt_tokens", std::span<const std::int32_t>(prompt_tokens));
  add_sampling(key, sampling);
  key.field("max_tokens", max_tokens).field("stop", std::uint64_t{stop.size()});
  for (const std::string& text : stop) key.field("stop", std::string_view(text));
  key.field("logprobs", logprobs).field("top_logprobs", top_logprobs);
  return key.build();
}

}   // namespace tensorcache::answer
