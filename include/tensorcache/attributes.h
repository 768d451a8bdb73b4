// Compiler attributes of the public headers.
//
//   struct Text {
//     std::string value;
//     std::string_view view() const TENSORCACHE_LIFETIME_BOUND { return value; }
//   };
#pragma once

// Marks a function whose result is valid only as long as the object it is called on. Clang warns of
// `const auto value = cache.get(key).bytes();`: the handle is destroyed and the value unpinned.
#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::lifetimebound)
#define TENSORCACHE_LIFETIME_BOUND [[clang::lifetimebound]]
#endif
#endif
#ifndef TENSORCACHE_LIFETIME_BOUND
#define TENSORCACHE_LIFETIME_BOUND
#endif
