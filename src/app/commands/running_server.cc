#include "app/commands/running_server.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>

#include "tools/loadgen/client.h"

namespace tensorcache::commands {
namespace {

constexpr std::chrono::minutes kPatience{10};   // walking over much takes long

std::string note_path(const std::string& directory) { return directory + "/serving"; }

std::string message_of(const boost::json::value& reply) {
  boost::system::error_code missing;
  const boost::json::value* message = reply.find_pointer("/error/message", missing);
  return message != nullptr && message->is_string() ? std::string(message->get_string()) : "";
}

}   // namespace

std::string random_store_id() {
  std::random_device random;
  char text[33];
  std::snprintf(text, sizeof text, "%08x%08x%08x%08x", random(), random(), random(), random());
  return text;
}

ServingNote::ServingNote(const std::string& directory, const Serving& serving) : directory_(directory) {
  const std::string text = serving.url + "\n" + serving.store_id + "\n";
  const int file = ::open(note_path(directory).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return;
  const bool whole = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(file);
  if (!whole) remove_serving_note(directory);
}

ServingNote::~ServingNote() { remove_serving_note(directory_); }

void remove_serving_note(const std::string& directory) {
  std::error_code ignored;
  std::filesystem::remove(note_path(directory), ignored);
}

std::optional<Serving> serving_note(const std::string& directory) {
  std::ifstream file(note_path(directory));
  Serving serving;
  if (!std::getline(file, serving.url) || !std::getline(file, serving.store_id) || !net::parse_url(serving.url)) return std::nullopt;
  return serving;
}

Deleted delete_through(const Serving& serving, const std::string& api_key, const std::string& query) {
  const std::string& url = serving.url;
  const std::optional<net::Url> where = net::parse_url(url);
  if (!where) throw std::runtime_error(url + ": is not a server's address");
  boost::asio::io_context io;
  loadgen::Headers headers;
  if (!serving.store_id.empty()) headers.emplace_back("TensorCache-Store", serving.store_id);
  if (!api_key.empty()) headers.emplace_back("Authorization", "Bearer " + api_key);
  const loadgen::Endpoints endpoints = loadgen::resolve(io, *where);
  loadgen::Client client(io, endpoints, *where, headers);
  std::string body, error;
  int status = 0;
  // GCC 12 miscompiles some temporaries within a co_await expression.
  const std::string path = query.empty() ? "/cache" : "/cache?" + query;
  const auto ask = [&]() -> boost::asio::awaitable<void> {
    body = co_await client.remove(path, loadgen::Client::Clock::now() + kPatience, status, error);
  };
  boost::asio::co_spawn(io, ask(), [](std::exception_ptr failure) {
    if (failure) std::rethrow_exception(failure);
  });
  io.run();
  if (!error.empty()) throw std::runtime_error(url + ": " + error);
  boost::system::error_code failed;
  const boost::json::value reply = boost::json::parse(body, failed);
  if (failed || status != 200) throw std::runtime_error(url + ": " + (failed ? "HTTP " + std::to_string(status) : message_of(reply)));
  const boost::json::value* removed = reply.find_pointer("/removed", failed);
  if (removed == nullptr) throw std::runtime_error(url + ": is no TensorCache server");
  return {removed->to_number<std::uint64_t>(), reply.find_pointer("/on_disk", failed) == nullptr};
}

std::string percent_encoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_' || c == '.' || c == '~';
    char escaped[4];
    std::snprintf(escaped, sizeof escaped, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += plain ? std::string(1, c) : escaped;
  }
  return out;
}

}   // namespace tensorcache::commands
