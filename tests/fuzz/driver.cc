// Runs a fuzz target without libFuzzer: its seeds, then mutations of them for `--seconds` (1), or
// the files that are named.
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>
#include <unistd.h>

#include "fuzz_target.h"

namespace {

std::string current;   // shown if the target aborts

void run(std::string input) {
  current = std::move(input);
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(current.data()), current.size());
}

extern "C" void show_input(int) {
  static_cast<void>(!write(STDERR_FILENO, "input: ", 7));
  static_cast<void>(!write(STDERR_FILENO, current.data(), current.size()));
  static_cast<void>(!write(STDERR_FILENO, "\n", 1));
  std::_Exit(1);
}

std::string mutate(const std::vector<std::string>& seeds, std::mt19937& random) {
  constexpr std::string_view kInteresting[] = {"\"",    "{",  "}",     "[",   "]",       ":",       ",",    "null",       "true",
                                               "-1",    "0",  "1e999", "NaN", "\\u0000", "\\ud800", "\xFF", "4294967295", "9223372036854775808",
                                               "\"\":", "[]", "{}",    ",,"};
  std::string text = seeds[random() % seeds.size()];
  for (std::uint32_t steps = 1 + random() % 6; steps > 0; --steps) {
    const std::size_t at = text.empty() ? 0 : random() % text.size();
    const std::size_t length = 1 + random() % 8;
    switch (random() % 6) {
      case 0:
        if (!text.empty()) text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, kInteresting[random() % std::size(kInteresting)]);
        break;
      case 3:
        text.insert(at, text.substr(at, length));
        break;
      case 4: {   // a piece of another seed
        const std::string& other = seeds[random() % seeds.size()];
        if (!other.empty()) text.insert(at, other.substr(random() % other.size(), length * 4));
        break;
      }
      default:
        if (!text.empty()) text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
    }
  }
  return text;
}

}   // namespace

int main(int argc, char** argv) {
  int seconds = 1;
  std::signal(SIGABRT, show_input);
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
      seconds = std::atoi(argv[++i]);
      continue;
    }
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", argv[i]);
      return 1;
    }
    run(std::string(std::istreambuf_iterator<char>(file), {}));
    seconds = 0;
  }
  if (seconds == 0) return 0;
  const std::vector<std::string> seeds = fuzz_seeds();
  for (const std::string& seed : seeds) run(seed);
  std::mt19937 random(20260101);   // the same inputs each time
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::uint64_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) run(mutate(seeds, random));
  std::printf("%llu inputs\n", static_cast<unsigned long long>(runs));
  return runs > 0 ? 0 : 1;
}
