# Installs the library from BUILD_DIR into WORK_DIR, then configures, builds and runs the consumer against what is installed.
#   cmake -D BUILD_DIR=... -D SOURCE_DIR=... -D WORK_DIR=... -D CXX_COMPILER=... -D CXX_FLAGS=... -P run.cmake
file(REMOVE_RECURSE ${WORK_DIR})
set(must COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD_DIR} --component library --prefix ${WORK_DIR}/prefix ${must})
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE_DIR} -B ${WORK_DIR}/build -G Ninja -D CMAKE_PREFIX_PATH=${WORK_DIR}/prefix
                        -D CMAKE_BUILD_TYPE=Release -D "CMAKE_CXX_FLAGS=${CXX_FLAGS}" -D CMAKE_CXX_COMPILER=${CXX_COMPILER} ${must})
execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK_DIR}/build ${must})
execute_process(COMMAND ${WORK_DIR}/build/consumer ${must})
