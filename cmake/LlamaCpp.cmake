# llama.cpp as scripts/llama.sh installs it: static libraries, llama-common's headers beside llama.h.
# TENSORCACHE_LLAMA_DIR names another folder of the same layout.
if(NOT TENSORCACHE_LLAMA_DIR)
  execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/llama.sh OUTPUT_VARIABLE llama_prefix
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(TENSORCACHE_LLAMA_DIR ${llama_prefix} CACHE PATH "Where llama.cpp is installed" FORCE)
endif()

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
add_library(llama_cpp INTERFACE)
add_library(llama::cpp ALIAS llama_cpp)
target_include_directories(llama_cpp SYSTEM INTERFACE ${TENSORCACHE_LLAMA_DIR}/include ${TENSORCACHE_LLAMA_DIR}/include/llama-common)
add_library(llama_cpp_internal INTERFACE)   # headers that llama.cpp does not install
add_library(llama::internal ALIAS llama_cpp_internal)
target_include_directories(llama_cpp_internal SYSTEM INTERFACE ${TENSORCACHE_LLAMA_DIR}/include/llama-internal)
file(GLOB llama_archives ${TENSORCACHE_LLAMA_DIR}/lib/*.a)
if(NOT llama_archives)
  message(FATAL_ERROR "TENSORCACHE_LLAMA_DIR=${TENSORCACHE_LLAMA_DIR} holds no lib/*.a")
endif()
list(FILTER llama_archives EXCLUDE REGEX "server|mtmd|llama-cli")
target_link_libraries(llama_cpp INTERFACE -Wl,--start-group ${llama_archives} -Wl,--end-group
                      OpenMP::OpenMP_CXX Threads::Threads ${CMAKE_DL_LIBS})
