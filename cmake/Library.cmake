# libtensorcache: the six rooms that know nothing of models or servers, as one installed static library.
#   find_package(tensorcache REQUIRED)
#   target_link_libraries(app PRIVATE tensorcache::tensorcache)
include(CMakePackageConfigHelpers)
find_package(OpenSSL 3 REQUIRED COMPONENTS Crypto)
find_package(Threads REQUIRED)

add_library(tensorcache STATIC $<TARGET_OBJECTS:tc_base> $<TARGET_OBJECTS:tc_policy> $<TARGET_OBJECTS:tc_disk> $<TARGET_OBJECTS:tc_tier> $<TARGET_OBJECTS:tc_cache> $<TARGET_OBJECTS:tc_tensor>)
add_library(tensorcache::tensorcache ALIAS tensorcache)
set_target_properties(tensorcache PROPERTIES LINKER_LANGUAGE CXX)
target_compile_features(tensorcache PUBLIC cxx_std_20)
target_include_directories(tensorcache PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(tensorcache PUBLIC OpenSSL::Crypto Threads::Threads)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tensorcache)
install(TARGETS tensorcache EXPORT tensorcacheTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/tensorcache DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(EXPORT tensorcacheTargets NAMESPACE tensorcache:: DESTINATION ${package_dir} COMPONENT library)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tensorcacheConfig.cmake.in ${PROJECT_BINARY_DIR}/tensorcacheConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tensorcacheConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tensorcacheConfig.cmake ${PROJECT_BINARY_DIR}/tensorcacheConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT library)

if(TENSORCACHE_BUILD_TESTS)
  set(consumer_flags "")
  if(TENSORCACHE_SANITIZE)
    set(consumer_flags -fsanitize=${TENSORCACHE_SANITIZE})
  endif()
  add_test(NAME consumer COMMAND ${CMAKE_COMMAND} -D BUILD_DIR=${PROJECT_BINARY_DIR} -D SOURCE_DIR=${PROJECT_SOURCE_DIR}/tests/consumer
           -D WORK_DIR=${PROJECT_BINARY_DIR}/tests/consumer -D CXX_COMPILER=${CMAKE_CXX_COMPILER} -D CXX_FLAGS=${consumer_flags}
           -P ${PROJECT_SOURCE_DIR}/tests/consumer/run.cmake)
  set_tests_properties(consumer PROPERTIES TIMEOUT 120)
endif()
