// The model's chat template: makes the prompt of a conversation, and knows the form of its answer.
#pragma once

#include <llama.h>

#include <memory>
#include <string>

#include "serving/engine/request.h"
#include "serving/model/template_time.h"

struct common_chat_templates;

namespace tensorcache::llama {

struct AnswerFormat;

struct Rendered {
  std::string prompt;
  std::shared_ptr<const AnswerFormat> format;   // never empty
};

// THREADS: render() from any thread.
class ChatTemplate {
 public:
  // `source`: Jinja, one of llama.cpp's names, or empty for the model's own. Throws std::runtime_error that names the option; also for a
  // template that leaves the messages out, which would give one prompt, and so one answer, to every question.
  ChatTemplate(const llama_model* model, const std::string& source);
  ~ChatTemplate();

  // Throws std::exception where the template refuses the messages, or its tools or schema cannot be a grammar. COST: milliseconds.
  [[nodiscard]] Rendered render(const engine::Request& request) const;

  // The text of all its variants: what a prompt depends on.
  [[nodiscard]] const std::string& source() const { return source_; }
  [[nodiscard]] model::TemplateTime time() const { return time_; }

 private:
  const llama_vocab* vocab_;
  std::unique_ptr<common_chat_templates, void (*)(common_chat_templates*)> templates_;
  std::string source_;
  bool builtin_ = false;   // one of llama.cpp's names
  bool has_tools_ = false, has_parallel_calls_ = false;
  bool has_plain_answers_ = false;   // without tools, all text is content
  model::TemplateTime time_ = model::TemplateTime::kNone;
};

}   // namespace tensorcache::llama
