#pragma once

struct Named {
  std::string name;   // <string> is not included: the test header_misses_include
};
