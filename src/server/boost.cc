// The compiled parts of the Boost libraries that are headers on Debian.
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
#include <boost/json/src.hpp>
