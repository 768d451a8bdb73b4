// The compiled part of Asio's TLS, which is headers on Debian.
#include <boost/asio/ssl/impl/src.hpp>
