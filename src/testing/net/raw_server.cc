#include "testing/net/raw_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <stdexcept>

namespace tensorcache::testing {

RawPeer::RawPeer(int fd, SSL_CTX* tls) : fd_(fd) {
  if (tls == nullptr) return;
  tls_ = SSL_new(tls);
  SSL_set_fd(tls_, fd_);
  SSL_accept(tls_);   // a client that does not trust it fails here, and then everything else does
}

RawPeer::~RawPeer() {
  if (tls_ != nullptr && fd_ >= 0) SSL_shutdown(tls_);
  SSL_free(tls_);
  if (fd_ >= 0) ::close(fd_);
}

long RawPeer::read_some(char* bytes, std::size_t size) {
  return tls_ != nullptr ? SSL_read(tls_, bytes, static_cast<int>(size)) : ::recv(fd_, bytes, size, 0);
}

std::string RawPeer::read_request() {
  constexpr std::string_view kLength = "Content-Length: ";
  std::array<char, 65536> piece;
  while (true) {
    const std::size_t end = held_.find("\r\n\r\n");
    if (end != std::string::npos) {
      const std::size_t at = held_.find(kLength);
      const std::size_t body = at < end ? std::strtoul(held_.c_str() + at + kLength.size(), nullptr, 10) : 0;
      if (held_.size() >= end + 4 + body) {
        std::string request = held_.substr(0, end + 4 + body);
        held_.erase(0, end + 4 + body);
        return request;
      }
    }
    const long got = read_some(piece.data(), piece.size());
    if (got <= 0) return "";
    held_.append(piece.data(), static_cast<std::size_t>(got));
  }
}

void RawPeer::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const long sent =
        tls_ != nullptr ? SSL_write(tls_, bytes.data(), static_cast<int>(bytes.size())) : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void RawPeer::wait_for_end() {
  std::array<char, 4096> ignored;
  while (read_some(ignored.data(), ignored.size()) > 0) {
  }
}

void RawPeer::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  ::close(fd_);
  fd_ = -1;
}

void RawPeer::cut() {
  ::close(fd_);
  fd_ = -1;
}

TestCertificate::TestCertificate(const std::string& host) : key(EVP_EC_gen("P-256")), certificate(X509_new()) {
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  const auto* name = reinterpret_cast<const unsigned char*>("test");
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, name, -1, -1, 0);
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  const std::string names = host.starts_with("IP:") ? host : "DNS:" + host;
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  X509_sign(certificate, key, EVP_sha256());
}

TestCertificate::~TestCertificate() {
  X509_free(certificate);
  EVP_PKEY_free(key);
}

std::string TestCertificate::pem() const {
  BIO* out = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(out, certificate);
  char* text = nullptr;
  const long size = BIO_ctrl(out, BIO_CTRL_INFO, 0, &text);
  std::string pem(text, static_cast<std::size_t>(size));
  BIO_free(out);
  return pem;
}

RawServer::RawServer(Handler handler, const TestCertificate* tls) : handler_(std::move(handler)) {
  std::signal(SIGPIPE, SIG_IGN);   // OpenSSL writes without MSG_NOSIGNAL
  if (tls != nullptr) {
    tls_ = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(tls_, tls->certificate);
    SSL_CTX_use_PrivateKey(tls_, tls->key);
  }
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, raw, size) != 0 || ::listen(listener_, 64) != 0 || ::getsockname(listener_, raw, &size) != 0)
    throw std::runtime_error("cannot listen on 127.0.0.1");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { accept_all(); });
}

RawServer::~RawServer() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);   // wakes accept()
  thread_.join();
  for (std::thread& each : connections_) each.join();
  ::close(listener_);
  SSL_CTX_free(tls_);
}

std::string RawServer::url(const std::string& host) const { return (tls_ != nullptr ? "https://" : "http://") + host + ":" + std::to_string(port_); }

void RawServer::accept_all() {
  while (!stopping_) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const int number = accepted_++;
    connections_.emplace_back([this, fd, number] {
      RawPeer peer(fd, tls_);
      handler_(peer, number);
    });
  }
}

}   // namespace tensorcache::testing
