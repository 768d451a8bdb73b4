// Finds the running server that uses a cache directory, and sends it deletions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tensorcache::commands {

// Where a server listens, and the random name of the store it keeps: another server may listen
// there by now.
struct Serving {
  std::string url, store_id;
};
[[nodiscard]] std::string random_store_id();

// While it lives, a file in the directory says so (0600). Where it cannot be written there is none,
// and nothing else is lost.
class ServingNote {
 public:
  ServingNote(const std::string& directory, const Serving& serving);
  ~ServingNote();
  ServingNote(const ServingNote&) = delete;
  ServingNote& operator=(const ServingNote&) = delete;

 private:
  std::string directory_;
};

// What the file says; a server that was killed leaves it behind, until the next process takes the
// directory. Nothing if there is none.
[[nodiscard]] std::optional<Serving> serving_note(const std::string& directory);
void remove_serving_note(const std::string& directory);

struct Deleted {
  std::uint64_t entries = 0;
  bool on_disk = true;   // false: the server still works on it
};
// DELETE /cache?`query` there, if it keeps that store (or any, where store_id is empty). Throws
// std::runtime_error that says what the server said.
[[nodiscard]] Deleted delete_through(const Serving& serving, const std::string& api_key, const std::string& query);

// `text` as a value in a query.
[[nodiscard]] std::string percent_encoded(const std::string& text);

}   // namespace tensorcache::commands
