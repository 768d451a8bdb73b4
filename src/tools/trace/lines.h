// Reads the lines of a text file, optionally gzipped.
#pragma once

#include <zlib.h>

#include <memory>
#include <string>

namespace tensorcache::trace {

class Lines {
 public:
  // Throws std::runtime_error that names the file.
  explicit Lines(const std::string& path);

  // Gets the next line, without its line break. RETURNS false at the end of the file. Throws
  // std::runtime_error without the path for a damaged file.
  bool next(std::string& line);
  // RETURNS the bytes of the file read so far, for a progress bar.
  [[nodiscard]] std::uint64_t read_bytes() const { return static_cast<std::uint64_t>(gzoffset(file_.get())); }

 private:
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

}   // namespace tensorcache::trace
