// The server's own metrics, and the Prometheus page with all metrics.
#pragma once

#include <prometheus/family.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "serving/engine/engine.h"
#include "store/sizing/capacity_controller.h"
#include "serving/protocol/router.h"
#include "tensorcache/cache.h"

namespace tensorcache::server {

// THREADS: the server's thread only.
class Metrics {
 public:
  // How a response was served.
  enum class Source : std::uint8_t { kStored, kCollapsed, kComputed };
  [[nodiscard]] static std::string_view source_name(Source source);
  // Why a response was neither looked up nor stored.
  enum class Bypass : std::uint8_t { kSampled, kAnswersOff };

  Metrics();

  void count_reply(protocol::Route route, int status);
  void count_answer(Source source, std::chrono::duration<double> to_first_byte, std::chrono::duration<double> to_last_byte);
  void count_bypass(Bypass bypass) { bypasses_[static_cast<std::size_t>(bypass)]->Increment(); }
  void count_client_gone() { clients_gone_.Increment(); }
  void count_refused_connection() { refused_connections_.Increment(); }
  int connections = 0;

  // RETURNS the text format, with the cache's metrics and, if loaded, the engine's.
  [[nodiscard]] std::string page(const Stats& cache, const sizing::MemoryState& memory, const DiskStats& disk, const engine::Engine* engine) const;

 private:
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& replies_;
  prometheus::Family<prometheus::Counter>& answers_;
  prometheus::Counter* bypasses_[2];
  prometheus::Family<prometheus::Histogram>& first_byte_;
  prometheus::Family<prometheus::Histogram>& last_byte_;
  prometheus::Counter& clients_gone_;
  prometheus::Counter& refused_connections_;
  std::map<std::pair<protocol::Route, int>, prometheus::Counter*> reply_counters_;
  struct PerSource {
    prometheus::Counter* answers;
    prometheus::Histogram *first_byte, *last_byte;
  };
  PerSource sources_[3];
};

}   // namespace tensorcache::server
