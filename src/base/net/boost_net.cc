// The compiled parts of Asio, its TLS and Beast, which are headers on Debian.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
