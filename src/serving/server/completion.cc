#include "serving/server/completion.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <utility>

#include "base/json/json_text.h"
#include "serving/answer/flight.h"
#include "serving/protocol/cache_control.h"
#include "serving/protocol/ignored_fields.h"
#include "serving/server/elsewhere.h"
#include "serving/protocol/openai_json.h"
#include "serving/protocol/make_reply.h"
#include "serving/server/prepare_completion.h"

namespace tensorcache::server {
namespace {

// GCC 12 miscompiles some temporaries within a co_await expression, so arguments of coroutines are
// variables here.

constexpr std::size_t kDeltasAtOnce = 64;
constexpr std::size_t kFlushBytes = 64 << 10;
constexpr std::chrono::seconds kDiskTimeout{1};          // to load a stored response; computing it takes seconds, too
constexpr std::chrono::milliseconds kSlotTimeout{500};   // to wait for a slot before a stream's headers are sent without the reused tokens

// A completion request in progress: its settings and the kind of its reply.
struct Completion {
  Exchange& exchange;
  protocol::ParsedRequest parsed;
  protocol::ReplyHead head;
  protocol::CacheStatus status;
  Metrics::Source source = Metrics::Source::kComputed;
  Connection::Clock::time_point first_token{};

  [[nodiscard]] Connection& connection() const { return *exchange.connection; }
  [[nodiscard]] std::string cache_status_line() const {
    return "Cache-Status: " + protocol::cache_status_text(status) + "\r\n" + protocol::ignored_fields_line(parsed.ignored_fields);
  }
  void saw_token() {
    if (first_token == Connection::Clock::time_point{}) first_token = Connection::Clock::now();
  }
  void count(const engine::Usage& usage) {
    saw_token();
    exchange.service.metrics.count_answer(source, first_token - exchange.received, Connection::Clock::now() - exchange.received);
    exchange.record.source = Metrics::source_name(source);
    exchange.record.usage = usage;
    exchange.record.first_token_seconds = std::chrono::duration<double>(first_token - exchange.received).count();
  }
  // A request that joined a computation computed no prompt tokens itself.
  [[nodiscard]] engine::Usage usage(engine::Usage usage) const {
    if (status.collapsed) usage.cached_tokens = usage.prompt_tokens;
    return usage;
  }
};

// Frames a streamed reply: chunked, or plain bytes for HTTP/1.0.
class EventStream {
 public:
  explicit EventStream(Completion& completion)
      : completion_(completion), reply_(protocol::make_stream_reply(completion.head)), bare_(completion.exchange.request.http_1_0) {}

  [[nodiscard]] protocol::StreamReply& reply() { return *reply_; }
  [[nodiscard]] std::string& events() { return events_; }
  [[nodiscard]] bool keep_alive() const { return framing_.keep_alive && !bare_; }

  // `usage`: what is known of it by now.
  void open(const std::string& headers, const engine::Usage& usage) {
    framing_ = {completion_.exchange.keep_alive(), false, bare_};
    wire_ = render_stream_head(headers + completion_.exchange.common_lines, framing_);
    completion_.exchange.service.metrics.count_reply(completion_.exchange.match.route, 200);
    completion_.exchange.record.status = 200;
    reply_->begin(events_, usage);
  }
  // Sends the collected output, and the end of the stream if `last`. RETURNS false if the client
  // left.
  [[nodiscard]] Task<bool> flush(bool last) {
    if (bare_)
      wire_ += events_;
    else if (!events_.empty())
      append_chunk(wire_, events_);
    if (last && !bare_) wire_ += kLastChunk;
    events_.clear();
    const bool written = co_await completion_.connection().write(wire_);
    wire_.clear();
    co_return written;
  }

 private:
  Completion& completion_;
  const std::unique_ptr<protocol::StreamReply> reply_;
  const bool bare_;
  Framing framing_;
  std::string events_, wire_;
};

// Sends a stored response.
Task<bool> reply_from_store(Completion& completion, answer::Flights::Hit& hit) {
  answer::Answer& answer = hit.answer;
  completion.source = Metrics::Source::kStored;
  completion.head.created_unix_s = answer.created_unix_s;
  answer.usage.cached_tokens = answer.usage.prompt_tokens;   // no token was computed
  const std::string headers =
      completion.cache_status_line() + "Age: " + std::to_string(std::chrono::duration_cast<std::chrono::seconds>(hit.age).count()) + "\r\n";
  if (!completion.parsed.stream) {
    const auto whole = protocol::make_whole_reply(completion.head);
    for (const engine::Delta& delta : answer.deltas) whole->add(delta);
    Reply reply;
    reply.headers = headers;
    reply.body = whole->finish({answer.reason, answer.usage, answer.stop_sequence, {}, {}});
    answer.deltas.clear();   // frees them early: the client may read slowly
    completion.count(answer.usage);
    co_return co_await send(completion.exchange, std::move(reply));
  }
  EventStream stream(completion);
  stream.open(headers, answer.usage);
  for (const engine::Delta& delta : answer.deltas) {
    stream.reply().delta(stream.events(), delta);
    if (stream.events().size() >= kFlushBytes && !co_await stream.flush(false)) co_return false;
  }
  stream.reply().finish(stream.events(), {answer.reason, answer.usage, answer.stop_sequence, {}, {}});
  completion.count(answer.usage);
  const bool written = co_await stream.flush(true);
  co_return written&& stream.keep_alive();
}

// Waits for the next events. RETURNS false if the client left.
Task<bool> next_events(Connection& connection, answer::Follower& follower, answer::Follower::Events& events) {
  while (!connection.gone()) {
    if (follower.next(events, kDeltasAtOnce)) co_return true;
    co_await connection.wait();
  }
  co_return false;
}

protocol::ReplyEnd end_of(const engine::Finish& finish, const engine::Usage& usage) {
  return {finish.reason, usage, finish.stop_sequence, finish.prefill, finish.decode};
}

void note_begin(Completion& completion, const answer::Follower::Events& events) {
  if (!events.begin || completion.status.collapsed) return;
  completion.status.prefix_tokens = events.begin->cached_tokens;
  completion.status.fidelity = events.begin->fidelity;
}

Task<bool> reply_whole(Completion& completion, answer::Follower& follower) {
  const auto whole = protocol::make_whole_reply(completion.head);
  answer::Follower::Events events;
  do {
    if (!co_await next_events(completion.connection(), follower, events)) co_return false;
    note_begin(completion, events);
    if (!events.deltas.empty()) completion.saw_token();
    for (const engine::Delta* delta : events.deltas) whole->add(*delta);
  } while (!events.finish && !events.failure);
  co_await completion.connection().unwatch();
  Reply reply;
  if (events.failure) {
    reply = problem_reply(protocol::problem_of(*events.failure), completion.head.format);
  } else {
    completion.status.stored = events.stored;
    reply.headers = completion.cache_status_line();
    const engine::Usage usage = completion.usage(events.finish->usage);
    reply.body = whole->finish(end_of(*events.finish, usage));
    completion.count(usage);
  }
  co_return co_await send(completion.exchange, std::move(reply));
}

// Waits for the first events; returns without any if the wait for a slot takes long, when the
// request can no longer be rejected. RETURNS false if the client left.
Task<bool> first_events(Completion& completion, answer::Follower& follower, answer::Follower::Events& events) {
  const auto connection = completion.exchange.connection;
  const auto late = std::make_shared<bool>(false);
  Timer timeout(connection->socket().get_executor());
  while (!connection->gone()) {
    const bool came = follower.next(events, kDeltasAtOnce);
    if (events.has_more() || *late) co_return true;
    if (came) {
      timeout.expires_after(kSlotTimeout);
      timeout.async_wait([connection, late](boost::system::error_code error) {
        if (error) return;
        *late = true;
        Connection::wake(connection);
      });
    } else {
      co_await connection->wait();
    }
  }
  co_return false;
}

Task<bool> reply_streamed(Completion& completion, answer::Follower& follower) {
  answer::Follower::Events events;
  if (!co_await first_events(completion, follower, events)) co_return false;
  if (events.failure && !events.begin) {   // nothing was sent yet: reply with the error's status
    co_await completion.connection().unwatch();
    Reply reply = problem_reply(protocol::problem_of(*events.failure), completion.head.format);
    co_return co_await send(completion.exchange, std::move(reply));
  }
  note_begin(completion, events);
  EventStream stream(completion);
  engine::Usage known;
  if (events.begin) known = completion.usage({events.begin->prompt_tokens, 0, events.begin->cached_tokens});
  stream.open(completion.cache_status_line(), known);
  for (;;) {
    if (!events.deltas.empty()) completion.saw_token();
    for (const engine::Delta* delta : events.deltas) stream.reply().delta(stream.events(), *delta);
    if (events.failure) {
      stream.reply().fail(stream.events(), protocol::problem_of(*events.failure));
      completion.exchange.record.failed = true;
      co_await stream.flush(false);
      co_return false;   // no [DONE] and no last chunk, so that no client takes the reply as complete
    }
    if (events.finish) {
      const engine::Usage usage = completion.usage(events.finish->usage);
      stream.reply().finish(stream.events(), end_of(*events.finish, usage));
      completion.count(usage);
      if (!co_await stream.flush(true)) co_return false;
      co_return stream.keep_alive();
    }
    if (!co_await stream.flush(false)) co_return false;
    if (!co_await next_events(completion.connection(), follower, events)) co_return false;
  }
}

Task<bool> reply_from_flight(Completion& completion, answer::Follower& follower) {
  completion.source = completion.status.collapsed ? Metrics::Source::kCollapsed : Metrics::Source::kComputed;
  completion.head.created_unix_s = follower.created_unix_s();
  completion.connection().watch();
  bool again = false;
  if (completion.parsed.stream)
    again = co_await reply_streamed(completion, follower);
  else
    again = co_await reply_whole(completion, follower);
  const bool left_early = completion.connection().gone();
  follower.leave();
  co_await completion.connection().unwatch();
  if (left_early) completion.exchange.service.metrics.count_client_gone();
  co_return again && !completion.connection().gone();
}

// Waits until the operation that `begin` started calls its argument, which it does at the latest on
// timeout. `begin` returns false if it started nothing.
template <class Start>
Task<void> wait_for(std::shared_ptr<Connection> connection, Start begin) {
  const auto done = std::make_shared<std::atomic<bool>>(false);
  const WakeupScope scope(connection);
  const bool begun = begin([wake = scope.wake(), done] {
    done->store(true);
    wake();
  });
  while (begun && !done->load()) co_await connection->wait();
}

// A stored response may be on disk only. This thread never waits for a disk.
Task<answer::Flights::Outcome> enter_flight(Exchange& exchange, answer::Flights::Order& order, engine::Engine& engine) {
  const auto enter = [&] {
    return exchange.service.flights.enter(order, engine, [connection = exchange.connection] { Connection::wake(connection); });
  };
  answer::Flights::Outcome outcome = enter();
  if (!outcome.ask_below) co_return outcome;
  const auto begin = [&](std::function<void()> done) { return exchange.service.cache.load({order.key}, kDiskTimeout, std::move(done)); };
  co_await wait_for(exchange.connection, begin);
  order.asked_below = true;
  outcome = enter();
  co_return outcome;
}

void note_bypass(Service& service, protocol::CacheStatus::Bypass bypass) {
  service.metrics.count_bypass(bypass == protocol::CacheStatus::Bypass::kSampled ? Metrics::Bypass::kSampled : Metrics::Bypass::kAnswersOff);
  if (bypass != protocol::CacheStatus::Bypass::kSampled || std::exchange(service.told_of_sampled, true)) return;
  spdlog::info(
      "a sampled request (temperature above 0, no seed) bypasses the response cache; set temperature 0 or a seed to make it "
      "repeatable, or --cache-sampled on to store sampled responses. This message is logged once");
}

void note_ignored(Service& service, const std::vector<std::string>& fields) {
  constexpr std::size_t kMostNames = 64;
  for (const std::string& field : fields) {
    if (service.told_of_fields.size() >= kMostNames || !service.told_of_fields.insert(field).second) continue;
    std::string shown;
    json::append_json_string(shown, field);
    spdlog::info("unknown request field {} is ignored (--unknown-fields refuse: 400); logged once per field", shown);
  }
}

protocol::CacheStatus::Forward forward_of(bool eligible, const protocol::CacheControl& control, const answer::Flights::Outcome& outcome) {
  if (outcome.hit) return protocol::CacheStatus::Forward::kNone;
  if (!eligible) return protocol::CacheStatus::Forward::kBypass;
  return control.no_cache || outcome.too_old ? protocol::CacheStatus::Forward::kRequest : protocol::CacheStatus::Forward::kMiss;
}

Task<bool> answer(Exchange& exchange, protocol::Format format) {
  Service& service = exchange.service;
  engine::Engine* engine = service.engine.load();
  FreedElsewhere<const engine::Request> freed(service.workers, exchange.request.body.size() >= kLargeBodyBytes);
  Prepared prepared = co_await prepare(exchange, engine, format);
  if (prepared.problem) {
    Reply reply = problem_reply(*prepared.problem, format);
    co_return co_await send(exchange, std::move(reply));
  }
  freed.hold(prepared.parsed.request);
  const engine::EngineInfo& info = engine->info();
  Completion completion{exchange, std::move(prepared.parsed), {}, {}};
  const std::string fingerprint = protocol::fingerprint_text(info.answer_fingerprint);
  const engine::Request& request = *completion.parsed.request;
  completion.head = {format, info.model_name, fingerprint, 0, request.logprobs, completion.parsed.include_usage, &request, &completion.parsed.native};
  completion.status.bypass = prepared.bypass;
  if (!prepared.eligible()) note_bypass(service, prepared.bypass);
  note_ignored(service, completion.parsed.ignored_fields);
  answer::Flights::Outcome outcome = co_await enter_flight(exchange, prepared.order, *engine);
  completion.status.forward = forward_of(prepared.eligible(), prepared.control, outcome);
  completion.status.collapsed = outcome.collapsed;
  if (outcome.hit) co_return co_await reply_from_store(completion, *outcome.hit);
  if (outcome.follower) co_return co_await reply_from_flight(completion, outcome.follower);
  Reply reply = problem_reply({504, "no stored response, and the request sets only-if-cached", "", "not_cached", 0}, format);
  reply.headers += completion.cache_status_line();
  co_return co_await send(exchange, std::move(reply));
}

}   // namespace

Task<bool> answer_chat(Exchange& exchange) { return answer(exchange, protocol::Format::kChat); }

Task<bool> answer_completion(Exchange& exchange) { return answer(exchange, protocol::Format::kCompletion); }

Task<bool> answer_native(Exchange& exchange) { return answer(exchange, protocol::Format::kNative); }

Task<bool> answer_messages(Exchange& exchange) { return answer(exchange, protocol::Format::kMessages); }

Task<bool> answer_responses(Exchange& exchange) { return answer(exchange, protocol::Format::kResponses); }

}   // namespace tensorcache::server
