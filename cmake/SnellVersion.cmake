# version.cpp with the project's version and the revision that was configured.
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --short=10 HEAD OUTPUT_VARIABLE SNELL_GIT_REVISION
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT SNELL_GIT_REVISION)
  set(SNELL_GIT_REVISION "no revision")
endif()
set(SNELL_FLAVOUR CPU)
if(SNELL_CUDA)
  set(SNELL_FLAVOUR CUDA)
endif()
set(SNELL_VERSION_SOURCE ${CMAKE_BINARY_DIR}/version.cpp)
configure_file(${CMAKE_SOURCE_DIR}/cmake/version.cpp.in ${SNELL_VERSION_SOURCE} @ONLY)
