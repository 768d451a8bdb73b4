// The compiled part of Boost.JSON, which is headers on Debian.
#include <boost/json/src.hpp>
