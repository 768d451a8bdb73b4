// The server that uses a cache directory now, for the commands that would like to use it too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tensorcache {

// While it lives, a file in the directory says where the server listens. Where it cannot be written there is none, and nothing else is lost.
class ServingNote {
 public:
  ServingNote(const std::string& directory, const std::string& url);
  ~ServingNote();
  ServingNote(const ServingNote&) = delete;
  ServingNote& operator=(const ServingNote&) = delete;

 private:
  std::string path_;
};

// What the file says; a server that was killed leaves it behind. Nothing if there is none.
[[nodiscard]] std::optional<std::string> serving_url(const std::string& directory);

struct Deleted {
  std::uint64_t entries = 0;
  bool on_disk = true;   // false: the server still works on it
};
// DELETE /cache?`query` there. Throws std::runtime_error that says what the server said.
[[nodiscard]] Deleted delete_through(const std::string& url, const std::string& api_key, const std::string& query);

// `text` as a value in a query.
[[nodiscard]] std::string percent_encoded(const std::string& text);

}   // namespace tensorcache
