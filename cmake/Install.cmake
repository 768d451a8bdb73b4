# cmake --install: both libraries, the headers, find_package(tensorcache) and pkg-config files.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tensorcache)
install(TARGETS tensorcache tensorcache_c EXPORT tensorcacheTargets COMPONENT library
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/tensorcache DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(EXPORT tensorcacheTargets NAMESPACE tensorcache:: DESTINATION ${package_dir} COMPONENT library)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tensorcacheConfig.cmake.in ${PROJECT_BINARY_DIR}/tensorcacheConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tensorcacheConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tensorcacheConfig.cmake ${PROJECT_BINARY_DIR}/tensorcacheConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT library)
foreach(name tensorcache tensorcache-c)
  # At install time, when the prefix is known.
  install(CODE "
    set(CMAKE_INSTALL_INCLUDEDIR [[${CMAKE_INSTALL_INCLUDEDIR}]])
    set(CMAKE_INSTALL_LIBDIR [[${CMAKE_INSTALL_LIBDIR}]])
    set(PROJECT_DESCRIPTION [[${PROJECT_DESCRIPTION}]])
    set(PROJECT_VERSION [[${PROJECT_VERSION}]])
    configure_file([[${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in]] \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig/${name}.pc\" @ONLY)
  " COMPONENT library)
endforeach()

if(TENSORCACHE_BUILD_TESTS)
  set(consumer_flags "")
  if(TENSORCACHE_SANITIZE)
    set(consumer_flags -fsanitize=${TENSORCACHE_SANITIZE})
  endif()
  add_test(NAME consumer COMMAND ${CMAKE_COMMAND} -D BUILD_DIR=${PROJECT_BINARY_DIR} -D SOURCE_DIR=${PROJECT_SOURCE_DIR}/tests/consumer
           -D WORK_DIR=${PROJECT_BINARY_DIR}/tests/consumer -D CXX_COMPILER=${CMAKE_CXX_COMPILER} -D C_COMPILER=${CMAKE_C_COMPILER}
           -D LIBDIR=${CMAKE_INSTALL_LIBDIR} -D CXX_FLAGS=${consumer_flags}
           -P ${PROJECT_SOURCE_DIR}/tests/consumer/run.cmake)
  set_tests_properties(consumer PROPERTIES TIMEOUT 120 LABELS build)
endif()
