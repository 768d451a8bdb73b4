#include "app/commands/running_server.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/json.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>

#include "base/net/http_client.h"

namespace tensorcache::commands {
namespace {

constexpr std::chrono::minutes kTimeout{10};   // deleting many entries takes long

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
  if (!where) throw std::runtime_error(url + ": is not a server address");
  net::Request request{.method = "DELETE", .target = query.empty() ? "/cache" : "/cache?" + query};
  request.timeouts = net::Timeouts{.first_byte = kTimeout, .between_bytes = kTimeout, .total = kTimeout};
  if (!serving.store_id.empty()) request.headers.emplace_back("TensorCache-Store", serving.store_id);
  if (!api_key.empty()) request.headers.emplace_back("Authorization", "Bearer " + api_key);
  const auto response = net::send_blocking(*where, {}, request);
  if (!response) throw std::runtime_error(url + ": " + response.error().text);
  boost::system::error_code failed;
  const boost::json::value reply = boost::json::parse(response->body, failed);
  if (failed || response->status != 200)
    throw std::runtime_error(url + ": " + (failed ? "HTTP " + std::to_string(response->status) : message_of(reply)));
  const boost::json::value* removed = reply.find_pointer("/removed", failed);
  if (removed == nullptr) throw std::runtime_error(url + ": is not a TensorCache server");
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
