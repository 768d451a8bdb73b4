#include "misses_guard.h"
#include "misses_guard.h"
