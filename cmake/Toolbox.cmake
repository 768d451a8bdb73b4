# Build rules shared by every component.

find_program(TENSORCACHE_CCACHE ccache)
if(TENSORCACHE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TENSORCACHE_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${TENSORCACHE_CCACHE})
endif()
find_program(TENSORCACHE_MOLD mold)
if(TENSORCACHE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
if(TENSORCACHE_SANITIZE)
  add_compile_options(-fsanitize=${TENSORCACHE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  # With a sanitizer g++ sees uninitialized members of empty std::optional and std::function that nobody reads.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
  add_link_options(-fsanitize=${TENSORCACHE_SANITIZE})
endif()

add_library(tensorcache_warnings INTERFACE)
target_compile_options(tensorcache_warnings INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast
  -Woverloaded-virtual -Wcast-qual
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety$<SEMICOLON>-Wthread-safety-beta$<SEMICOLON>-Werror=thread-safety$<SEMICOLON>-Werror=thread-safety-beta> $<$<BOOL:${TENSORCACHE_WARNINGS_AS_ERRORS}>:-Werror>)

# tensorcache_component(NAME [SOURCES...] [USES targets...]): the folder src/WING/NAME as the static library tc_NAME. Without sources: headers only.
function(tensorcache_component name)
  cmake_parse_arguments(COMPONENT "" "" "USES" ${ARGN})
  set(scope PUBLIC)
  if(COMPONENT_UNPARSED_ARGUMENTS)
    add_library(tc_${name} STATIC ${COMPONENT_UNPARSED_ARGUMENTS})
    target_link_libraries(tc_${name} PRIVATE $<BUILD_INTERFACE:tensorcache_warnings>)
  else()
    add_library(tc_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(tc_${name} ${scope} $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                 $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
  target_link_libraries(tc_${name} ${scope} ${COMPONENT_USES})
endfunction()

# tensorcache_testing(NAME [SOURCES...] [USES targets...]): the folder src/testing/NAME, which only tests may use, as tc_testing_NAME.
function(tensorcache_testing name)
  if(TENSORCACHE_BUILD_TESTS)
    cmake_parse_arguments(TESTING "" "" "USES" ${ARGN})
    tensorcache_component(testing_${name} ${TESTING_UNPARSED_ARGUMENTS} USES ${TESTING_USES} GTest::gtest)
  endif()
endfunction()

# tensorcache_test(NAME SOURCES... [USES targets...] [LABELS labels...]): one GoogleTest program, each of its tests known to ctest as
# NAME.SUITE.TEST. The label is `unit` where nothing else is said. The tests of one program run one after the other: some share files.
function(tensorcache_test name)
  if(NOT TENSORCACHE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(TEST "" "" "USES;LABELS" ${ARGN})
  if(NOT TEST_LABELS)
    set(TEST_LABELS unit)
  endif()
  add_executable(${name} ${TEST_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${TEST_USES} GTest::gtest_main GTest::gmock tensorcache_warnings)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  set(limit_s 300)
  if(TENSORCACHE_SANITIZE)
    set(limit_s 900)
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_PREFIX ${name}. EXTRA_ARGS --gtest_brief=1
                       PROPERTIES TIMEOUT ${limit_s} LABELS "${TEST_LABELS}" RESOURCE_LOCK ${name})
endfunction()
