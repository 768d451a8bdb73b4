// Compiles Boost.JSON, which is header-only on Debian.
#include <boost/json/src.hpp>
