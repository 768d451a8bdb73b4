#include "tools/loadgen/run.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <optional>
#include <stdexcept>

#include "tools/loadgen/client.h"

namespace tensorcache::loadgen {
namespace {

namespace asio = boost::asio;
using Clock = Client::Clock;

// The messages of one conversation so far.
struct Session {
  boost::json::array messages;
  std::size_t turns = 0;
  bool failed = false;
};

boost::json::object message(std::string_view role, std::string_view content) {
  return {{"role", boost::json::string(role.data(), role.size())}, {"content", boost::json::string(content.data(), content.size())}};
}

class Runner {
 public:
  Runner(const Workload& workload, const RunOptions& options, const std::function<void(const ProgressReport&)>& progress)
      : workload_(workload), options_(options), progress_(progress) {
    const auto url = net::parse_url(options.url);
    if (!url) throw std::runtime_error(options.url + " is not a URL such as http://127.0.0.1:8080");
    net::Headers headers = options.headers;
    if (!options.api_key.empty()) headers.emplace_back("Authorization", "Bearer " + options.api_key);
    client_.emplace(io_, *url, std::move(headers));
    if (!options.extra_body.empty()) extra_ = boost::json::parse(options.extra_body).as_object();
    for (const std::string& system : workload.system) {
      sessions_.emplace_back();
      if (!system.empty()) sessions_.back().messages.push_back(message("system", system));
    }
    end_ = options.max_time.count() > 0 ? Clock::now() + options.max_time : Clock::time_point::max();
  }

  Result run() {
    result_.model = options_.model.empty() ? first_model() : options_.model;
    result_.samples.reserve(workload_.turns());   // workers hold references to elements
    for (std::size_t i = 0; i < workload_.phases.size(); ++i) run_phase(i);
    return std::move(result_);
  }

 private:
  // Runs the spawned coroutines to their end.
  void drain(const std::string& phase) {
    io_.restart();
    while (!io_.stopped()) {
      io_.run_for(std::chrono::milliseconds(200));
      if (progress_) progress_({phase, done_, workload_.turns()});
    }
  }

  std::string first_model() {
    std::optional<tensorcache::Result<std::string, std::string>> body;
    asio::co_spawn(io_, list_models(body), asio::detached);
    drain("connecting");
    if (!*body) throw std::runtime_error(options_.url + "/v1/models: " + body->error());
    boost::system::error_code failed;
    const boost::json::value reply = boost::json::parse(**body, failed);
    const boost::json::value* id = failed ? nullptr : reply.find_pointer("/data/0/id", failed);
    if (id == nullptr || !id->is_string()) throw std::runtime_error(options_.url + "/v1/models: lists no model");
    return std::string(id->get_string().data(), id->get_string().size());
  }

  asio::awaitable<void> list_models(std::optional<tensorcache::Result<std::string, std::string>>& body) {
    constexpr std::chrono::seconds kLimit{10};
    const std::string path = "/v1/models";
    tensorcache::Result<std::string, std::string> got = co_await client_->get(path, std::min(Clock::now() + kLimit, end_));
    body.emplace(std::move(got));
  }

  void run_phase(std::size_t index) {
    const Phase& phase = workload_.phases[index];
    if (index < options_.first_phase) {
      replay(phase);
      return;
    }
    const std::size_t first = result_.samples.size();
    for (const Turn& turn : phase.turns) {
      Sample& sample = result_.samples.emplace_back();
      sample.phase = index;
      sample.session = turn.session;
    }
    next_ = 0;
    phase_start_ = Clock::now();
    const std::size_t workers = std::min(std::max<std::size_t>(phase.concurrency, 1), phase.turns.size());
    for (std::size_t i = 0; i < workers; ++i) asio::co_spawn(io_, work(phase, first), asio::detached);
    drain(phase.name);
    result_.phase_wall_s.push_back(std::chrono::duration<double>(Clock::now() - phase_start_).count());
  }

  // Adds the phase's turns with the replies of the history, without sending them.
  void replay(const Phase& phase) {
    for (const Turn& turn : phase.turns) {
      Session& session = sessions_[turn.session];
      const auto known = options_.history == nullptr ? History::const_iterator() : options_.history->find({turn.session, session.turns++});
      if (options_.history == nullptr || known == options_.history->end()) {
        throw std::runtime_error("the history has no answer to turn " + std::to_string(session.turns) + " of conversation " +
                                 std::to_string(turn.session + 1));
      }
      session.messages.push_back(message("user", turn.user));
      session.messages.push_back(message("assistant", known->second));
      ++done_;
    }
    result_.phase_wall_s.push_back(0);
  }

  asio::awaitable<void> work(const Phase& phase, std::size_t first_sample) {
    while (next_ < phase.turns.size()) {
      const std::size_t at = next_++;
      const Turn& turn = phase.turns[at];
      Sample& sample = result_.samples[first_sample + at];
      const Clock::time_point start = std::min(phase_start_ + turn.start_after, end_);
      if (start > Clock::now()) {
        asio::steady_timer timer(io_, start);
        co_await timer.async_wait(asio::use_awaitable);
      }
      co_await take_turn(turn, sample);
      ++done_;
    }
  }

  asio::awaitable<void> take_turn(const Turn& turn, Sample& sample) {
    Session& session = sessions_[turn.session];
    sample.turn = session.turns++;
    if (session.failed) {
      sample.error = "skipped: an earlier turn of its conversation failed";
      co_return;
    }
    if (Clock::now() >= end_) {
      sample.error = "not sent: the time limit of the run was reached";
      session.failed = true;
      co_return;
    }
    session.messages.push_back(message("user", turn.user));
    const std::string body = request_body(session, turn);
    const Clock::time_point deadline = std::min(Clock::now() + options_.timeout, end_);
    co_await client_->chat(body, deadline, sample);
    session.failed = !sample.error.empty();
    const std::string* answer = &sample.text;
    if (options_.history != nullptr) {
      const auto known = options_.history->find({sample.session, sample.turn});
      if (known != options_.history->end()) answer = &known->second;
    }
    session.messages.push_back(message("assistant", *answer));
  }

  [[nodiscard]] std::string request_body(const Session& session, const Turn& turn) const {
    boost::json::object body{{"model", result_.model},
                             {"messages", session.messages},
                             {"max_tokens", turn.max_tokens},
                             {"temperature", options_.temperature},
                             {"stream", true}};
    body["stream_options"] = boost::json::object{{"include_usage", true}};
    if (options_.logprobs) {
      body["logprobs"] = true;
      body["top_logprobs"] = 1;
    }
    for (const auto& member : extra_) body[member.key()] = member.value();
    return boost::json::serialize(body);
  }

  const Workload& workload_;
  const RunOptions& options_;
  const std::function<void(const ProgressReport&)>& progress_;
  asio::io_context io_{1};
  std::optional<Client> client_;
  boost::json::object extra_;
  std::vector<Session> sessions_;
  Result result_;
  Clock::time_point end_, phase_start_;
  std::size_t next_ = 0, done_ = 0;
};

}   // namespace

bool is_json_object(const std::string& text) {
  boost::system::error_code failed;
  const boost::json::value value = boost::json::parse(text, failed);
  return !failed && value.is_object();
}

Result run(const Workload& workload, const RunOptions& options, const std::function<void(const ProgressReport&)>& progress) {
  return Runner(workload, options, progress).run();
}

}   // namespace tensorcache::loadgen
