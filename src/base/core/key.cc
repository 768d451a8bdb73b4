#include "tensorcache/key.h"

#include <openssl/evp.h>

#include <bit>
#include <cassert>
#include <new>
#include <stdexcept>

namespace tensorcache {

namespace {

static_assert(std::endian::native == std::endian::little, "integers and tokens are hashed as they lie in memory");

constexpr char kDigits[] = "0123456789abcdef";

void check(int openssl_result) {
  if (openssl_result != 1) throw std::runtime_error("SHA-256 is not available from OpenSSL");
}

// Fetched once: an algorithm lookup costs more than hashing a short key.
const EVP_MD* sha256() {
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  check(algorithm != nullptr);
  return algorithm;
}

int nibble(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// The types of fields. Part of every key: never change one.
enum Tag : char {
  kDomain = 'D',
  kText = 's',
  kBytes = 'b',
  kTokens = 't',
  kKey = 'k',
  kSigned = 'i',
  kUnsigned = 'u',
  kDouble = 'd',
  kBool = '?',
};

}   // namespace

std::string Key::hex() const {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::optional<Key> Key::from_hex(std::string_view hex) {
  Key key;
  if (hex.size() != 2 * key.bytes.size()) return std::nullopt;
  for (std::size_t i = 0; i < key.bytes.size(); ++i) {
    const int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    key.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return key;
}

Key Key::of(std::span<const std::byte> data) {
  Key key;
  check(EVP_Digest(data.data(), data.size(), key.bytes.data(), nullptr, sha256(), nullptr));
  return key;
}

Key Key::of(std::string_view data) { return of(std::as_bytes(std::span(data))); }

struct KeyBuilder::State {
  State() : context(EVP_MD_CTX_new()) {
    if (context == nullptr) throw std::bad_alloc();
    check(EVP_DigestInit_ex2(context, sha256(), nullptr));
  }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // Collects short pieces: each call into OpenSSL costs about as much as hashing a whole block.
  void add(const void* data, std::size_t size) {
    if (size > sizeof pending - pending_size) {
      flush();
      if (size > sizeof pending) return check(EVP_DigestUpdate(context, data, size));
    }
    if (size != 0) std::memcpy(pending + pending_size, data, size);
    pending_size += size;
  }

  void flush() {
    check(EVP_DigestUpdate(context, pending, pending_size));
    pending_size = 0;
  }

  void frame(Tag tag, std::string_view name, const void* value, std::uint64_t value_bytes) {
    const std::uint64_t name_bytes = name.size();
    add(&tag, sizeof tag);
    add(&name_bytes, sizeof name_bytes);
    add(name.data(), name.size());
    add(&value_bytes, sizeof value_bytes);
    add(value, value_bytes);
  }

  EVP_MD_CTX* context;
  std::size_t pending_size = 0;
  std::byte pending[256];
};

KeyBuilder::KeyBuilder(std::string_view domain) : state_(std::make_unique<State>()) { state_->frame(kDomain, domain, nullptr, 0); }
KeyBuilder::~KeyBuilder() = default;
KeyBuilder::KeyBuilder(KeyBuilder&&) noexcept = default;
KeyBuilder& KeyBuilder::operator=(KeyBuilder&&) noexcept = default;

KeyBuilder& KeyBuilder::field(std::string_view name, std::string_view value) {
  assert(state_);
  state_->frame(kText, name, value.data(), value.size());
  return *this;
}

KeyBuilder& KeyBuilder::field(std::string_view name, std::span<const std::byte> value) {
  assert(state_);
  state_->frame(kBytes, name, value.data(), value.size_bytes());
  return *this;
}

KeyBuilder& KeyBuilder::field(std::string_view name, std::span<const std::int32_t> tokens) {
  assert(state_);
  state_->frame(kTokens, name, tokens.data(), tokens.size_bytes());
  return *this;
}

KeyBuilder& KeyBuilder::field(std::string_view name, const Key& value) {
  assert(state_);
  state_->frame(kKey, name, value.bytes.data(), value.bytes.size());
  return *this;
}

KeyBuilder& KeyBuilder::field(std::string_view name, std::int64_t value) {
  assert(state_);
  state_->frame(kSigned, name, &value, sizeof value);
  return *this;
}

KeyBuilder& KeyBuilder::field(std::string_view name, std::uint64_t value) {
  assert(state_);
  state_->frame(kUnsigned, name, &value, sizeof value);
  return *this;
}

KeyBuilder& KeyBuilder::field(std::string_view name, double value) {
  assert(state_);
  if (value == 0.0) value = 0.0;   // -0.0 as well
  state_->frame(kDouble, name, &value, sizeof value);
  return *this;
}

KeyBuilder& KeyBuilder::field(std::string_view name, bool value) {
  assert(state_);
  const char byte = value ? 1 : 0;
  state_->frame(kBool, name, &byte, sizeof byte);
  return *this;
}

Key KeyBuilder::build() {
  assert(state_);
  Key key;
  state_->flush();
  check(EVP_DigestFinal_ex(state_->context, key.bytes.data(), nullptr));
  state_.reset();
  return key;
}

}   // namespace tensorcache
