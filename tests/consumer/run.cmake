# Installs the library from BUILD_DIR into WORK_DIR, then configures, builds and runs the consumers against what is installed: by
# find_package, and by pkg-config.
#   cmake -D BUILD_DIR=... -D SOURCE_DIR=... -D WORK_DIR=... -D LIBDIR=lib -D CXX_COMPILER=... -D C_COMPILER=... -D CXX_FLAGS=... -P run.cmake
file(REMOVE_RECURSE ${WORK_DIR})
set(must COMMAND_ERROR_IS_FATAL ANY)
set(prefix ${WORK_DIR}/prefix)
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD_DIR} --component library --prefix ${prefix} ${must})
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE_DIR} -B ${WORK_DIR}/build -G Ninja -D CMAKE_PREFIX_PATH=${prefix}
                        -D CMAKE_BUILD_TYPE=Release -D "CMAKE_CXX_FLAGS=${CXX_FLAGS}" -D "CMAKE_C_FLAGS=${CXX_FLAGS}"
                        -D CMAKE_CXX_COMPILER=${CXX_COMPILER} -D CMAKE_C_COMPILER=${C_COMPILER} ${must})
execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK_DIR}/build ${must})
execute_process(COMMAND ${WORK_DIR}/build/consumer ${must})
execute_process(COMMAND ${WORK_DIR}/build/c_consumer ${must})

set(ENV{PKG_CONFIG_PATH} ${prefix}/${LIBDIR}/pkgconfig)
foreach(package tensorcache tensorcache-c)
  execute_process(COMMAND pkg-config --cflags --libs ${package} OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE ${must})
  separate_arguments(flags UNIX_COMMAND "${flags}")
  if(package STREQUAL tensorcache)
    set(compile ${CXX_COMPILER} -std=c++20 ${SOURCE_DIR}/consumer.cc)
  else()
    set(compile ${C_COMPILER} -std=c11 ${SOURCE_DIR}/../../examples/c_example.c -Wl,-rpath,${prefix}/${LIBDIR})
  endif()
  execute_process(COMMAND ${compile} ${CXX_FLAGS} ${flags} -o ${WORK_DIR}/by_${package} ${must})
  execute_process(COMMAND ${WORK_DIR}/by_${package} ${must})
endforeach()
