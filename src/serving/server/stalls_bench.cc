// Measures the latency of other requests during 15 MB bodies and a deletion of 100,000 entries:
// ./dev bench stalls.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "testing/engine/fake_engine.h"
#include "serving/answer/answer_key.h"
#include "serving/engine/tenant.h"
#include "testing/server/client.h"

namespace tensorcache::server {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int kEntries = 100'000, kValueBytes = 1024, kLargeClients = 4;
constexpr std::size_t kBodyBytes = 15u << 20;
constexpr auto kTokenEvery = 5ms, kProbeEvery = 2ms;
constexpr const char *kAlice = "Authorization: Bearer alice-key\r\n", *kRoot = "Authorization: Bearer root-key\r\n";

struct Waits {
  std::vector<double> ms;
  void print(const char* what) {
    std::sort(ms.begin(), ms.end());
    const auto at = [&](double share) { return ms.empty() ? 0 : ms[static_cast<std::size_t>(share * static_cast<double>(ms.size() - 1))]; };
    std::printf("  %-28s median %7.2f   p99 %7.2f   longest %7.2f ms   (%zu)\n", what, at(0.5), at(0.99), at(1), ms.size());
    ms.clear();
  }
};

double ms_since(Clock::time_point begin) { return std::chrono::duration<double, std::milli>(Clock::now() - begin).count(); }

// Measures the time between pieces of a stream.
void follow(std::uint16_t port, const std::string& request, std::atomic<bool>& stop, Waits& waits, std::atomic<bool>& counts) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::send(fd, request.data(), request.size(), 0) < 0) std::abort();
  std::vector<char> buffer(64 << 10);
  auto last = Clock::now();
  while (!stop && ::recv(fd, buffer.data(), buffer.size(), 0) > 0) {
    if (counts) waits.ms.push_back(ms_since(last));
    last = Clock::now();
  }
  ::close(fd);
}

std::string large_body() {
  std::string body = R"({"model":"no such model","temperature":0,"messages":[)";
  while (body.size() < kBodyBytes) body += R"({"role":"user","content":"x"},)";
  body.back() = ']';
  return body + '}';
}

class Bench {
 public:
  explicit Bench(const std::string& directory) : cache_(options(directory)), server_(server_options(), cache_) {
    for (const char* tenant : {"alice", "bob"}) {
      const std::string value(kValueBytes, 'v');
      for (int i = 0; i < kEntries; ++i) {
        const Key key = KeyBuilder("stalls").field("tenant", tenant).field("n", static_cast<std::uint64_t>(i)).build();
        (void)cache_.put(key, value, {.kind = Kind::kAnswer, .owner = engine::tenant_owner(tenant)});
        if (i % 10'000 == 0) cache_.flush(60s);
      }
    }
    cache_.flush(60s);
    server_.start();
    server_.set_engine(engine_);
    const std::string body = R"({"model":"","temperature":0,"stream":true,"messages":[{"role":"user","content":"hi"}]})";
    const std::string request = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + std::string(kAlice) +
                                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    reader_ = std::thread([this, request] { follow(server_.port(), request, stop_, gaps_, counts_); });
    writer_ = std::thread([this] {
      const testing::FakeEngine::Job job = engine_.job(0);
      job.begin();
      while (!stop_) {
        job.say("token ");
        std::this_thread::sleep_for(kTokenEvery);
      }
      job.finish();
    });
  }
  ~Bench() {
    stop_ = true;
    writer_.join();
    reader_.join();
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // Runs `work` while another thread polls /health.
  template <class Work>
  void measure(const char* what, const Work& work) {
    std::atomic<bool> done{false};
    Waits health;
    counts_ = true;
    std::thread prober([&] {
      while (!done) {
        testing::Client client(server_.port());
        const auto asked = Clock::now();
        client.request("GET", "/health");
        if (client.read().status != 200) std::abort();
        health.ms.push_back(ms_since(asked));
        std::this_thread::sleep_for(kProbeEvery);
      }
    });
    const auto begin = Clock::now();
    work();
    const double took_ms = ms_since(begin);
    done = true;
    prober.join();
    counts_ = false;
    std::printf("%s: %.0f ms\n", what, took_ms);
    health.print("GET /health");
    gaps_.print("between tokens of a stream");
  }

  void large_bodies() const {
    const std::string body = large_body();
    std::vector<std::thread> clients;
    for (int i = 0; i < kLargeClients; ++i) {
      clients.emplace_back([&] {
        for (int n = 0; n < 3; ++n) {
          testing::Client client(server_.port());
          client.post(body, kAlice);
          if (client.read().status != 404) std::abort();
        }
      });
    }
    for (std::thread& client : clients) client.join();
  }
  [[nodiscard]] std::string remove_bobs() const {
    testing::Client client(server_.port());
    client.request("DELETE", "/cache?tenant=bob", kRoot);
    return client.read().body;
  }

 private:
  static CacheOptions options(const std::string& directory) {
    CacheOptions options{.capacity_bytes = 1u << 30};
    options.disk.emplace();
    options.disk->directory = directory;
    options.disk->capacity_bytes = 4ull << 30;
    return options;
  }
  static ServerOptions server_options() {
    ServerOptions options;
    options.port = 0;
    options.api_keys = {{"alice-key", "alice", false}, {"bob-key", "bob", false}, {"root-key", "root", true}};
    return options;
  }

  testing::FakeEngine engine_;
  Cache cache_;
  Server server_;
  Waits gaps_;
  std::atomic<bool> stop_{false}, counts_{false};
  std::thread reader_, writer_;
};

}   // namespace
}   // namespace tensorcache::server

int main() {
  char directory[] = "stalls-XXXXXX";
  if (::mkdtemp(directory) == nullptr) return 1;
  {
    tensorcache::server::Bench bench(directory);
    bench.measure("nothing else", [] { std::this_thread::sleep_for(std::chrono::seconds(3)); });
    bench.measure("4 clients, each 3 bodies of 15 MB", [&] { bench.large_bodies(); });
    std::string removed;
    bench.measure("DELETE of 100,000 entries of a tenant", [&] { removed = bench.remove_bobs(); });
    std::printf("  %s\n", removed.c_str());
  }
  std::filesystem::remove_all(directory);
  return 0;
}
