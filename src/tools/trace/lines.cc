#include "tools/trace/lines.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace tensorcache::trace {

Lines::Lines(const std::string& path) : file_(gzopen(path.c_str(), "rbe"), gzclose) {
  if (!file_) throw std::runtime_error(path + ": " + (errno != 0 ? std::strerror(errno) : "cannot be read"));
}

bool Lines::next(std::string& line) {
  line.clear();
  std::array<char, 16384> buffer;
  while (gzgets(file_.get(), buffer.data(), static_cast<int>(buffer.size())) != nullptr) {
    line += buffer.data();
    if (!line.ends_with('\n')) continue;
    line.pop_back();
    if (line.ends_with('\r')) line.pop_back();
    return true;
  }
  int status = Z_OK;
  const char* message = gzerror(file_.get(), &status);
  if (status == Z_ERRNO) throw std::runtime_error(std::strerror(errno));
  if (status == Z_BUF_ERROR) throw std::runtime_error("the gzip file ends early");
  if (status != Z_OK && status != Z_STREAM_END) throw std::runtime_error(std::string("damaged: ") + message);
  return !line.empty();
}

}   // namespace tensorcache::trace
