// Finds the running server that uses a cache directory, and sends it deletions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tensorcache::commands {

// A server's address and the random id of its store; by now another server may listen there.
struct Serving {
  std::string url, store_id;
};
[[nodiscard]] std::string random_store_id();

// Keeps a file in the directory that names the running server (mode 0600). If it cannot be written,
// it is omitted without an error.
class ServingNote {
 public:
  ServingNote(const std::string& directory, const Serving& serving);
  ~ServingNote();
  ServingNote(const ServingNote&) = delete;
  ServingNote& operator=(const ServingNote&) = delete;

 private:
  std::string directory_;
};

// RETURNS the file's contents; nothing if there is none. A killed server leaves the file behind
// until the next process uses the directory.
[[nodiscard]] std::optional<Serving> serving_note(const std::string& directory);
void remove_serving_note(const std::string& directory);

struct Deleted {
  std::uint64_t entries = 0;
  bool on_disk = true;   // false: the server has not completed it on disk
};
// Sends DELETE /cache?`query` to the server, which rejects it if it has another store (unless
// store_id is empty). Throws std::runtime_error with the server's message.
[[nodiscard]] Deleted delete_through(const Serving& serving, const std::string& api_key, const std::string& query);

// RETURNS `text` encoded for use in a query.
[[nodiscard]] std::string percent_encoded(const std::string& text);

}   // namespace tensorcache::commands
