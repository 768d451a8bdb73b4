struct Twice {   // no #pragma once: the test header_misses_guard
  int number = 0;
};
