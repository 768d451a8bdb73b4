// A server over raw sockets that does to its clients whatever a test wants: be slow, close in the
// middle, send nonsense.
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace tensorcache::testing {

// The server's end of one connection. Closed when the handler returns.
class RawPeer {
 public:
  RawPeer(int fd, SSL_CTX* tls);
  ~RawPeer();
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  // RETURNS: the next request, head and body, or "" when the client has closed.
  std::string read_request();
  void send(std::string_view bytes);
  // Returns when the client has closed.
  void wait_for_end();
  // The client gets a reset instead of an orderly end.
  void reset();
  // Ends the connection without TLS's own end before it.
  void cut();

 private:
  long read_some(char* bytes, std::size_t size);
  int fd_;
  SSL* tls_ = nullptr;
  std::string held_;
};

// A key and certificate made for the test, valid for `host` (a name, or an address written
// "IP:127.0.0.1").
struct TestCertificate {
  explicit TestCertificate(const std::string& host);
  ~TestCertificate();
  TestCertificate(const TestCertificate&) = delete;
  TestCertificate& operator=(const TestCertificate&) = delete;
  EVP_PKEY* key;
  X509* certificate;
  [[nodiscard]] std::string pem() const;
};

class RawServer {
 public:
  // `number` counts the connections from 0. Runs in a thread of its own for each.
  using Handler = std::function<void(RawPeer& peer, int number)>;
  explicit RawServer(Handler handler, const TestCertificate* tls = nullptr);
  // REQUIRES: the clients have closed their connections, or the handlers return by themselves.
  ~RawServer();
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int accepted() const { return accepted_; }
  // RETURNS: "http://127.0.0.1:PORT", https with TLS; with another host if one is given.
  [[nodiscard]] std::string url(const std::string& host = "127.0.0.1") const;

 private:
  void accept_all();
  Handler handler_;
  SSL_CTX* tls_ = nullptr;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> accepted_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> connections_;   // of the accepting thread; joined after it
  std::thread thread_;
};

}   // namespace tensorcache::testing
