#include "misses_include.h"
#include "misses_include.h"
