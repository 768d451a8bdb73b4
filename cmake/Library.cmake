# libtensorcache: the components that know nothing of models or servers, as one installed static library.
#   find_package(tensorcache REQUIRED)
#   target_link_libraries(app PRIVATE tensorcache::tensorcache)
find_package(OpenSSL 3 REQUIRED COMPONENTS Crypto)
find_package(Threads REQUIRED)

add_library(tensorcache STATIC)
foreach(component core file policy memory disk cache tensor)
  target_sources(tensorcache PRIVATE $<TARGET_OBJECTS:tc_${component}>)
endforeach()
add_library(tensorcache::tensorcache ALIAS tensorcache)
set_target_properties(tensorcache PROPERTIES LINKER_LANGUAGE CXX)
target_compile_features(tensorcache PUBLIC cxx_std_20)
target_include_directories(tensorcache PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(tensorcache PUBLIC OpenSSL::Crypto Threads::Threads)
