# snell_add_test(NAME SOURCES … MODULES … [TORCH] [RANKS 1 2 4] [LABELS …] [TIMEOUT s] [ENVIRONMENT …])
# One GoogleTest program. Without RANKS it is one ctest; with RANKS one a size, under mpirun, and the program is told the
# size (SNELL_TEST_WORLD_SIZE), so that it fails when it is started at another.
find_package(GTest REQUIRED)

set(SNELL_MPIRUN ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none --mca mpi_yield_when_idle 1)

add_custom_target(unit_tests)  # the programs of every test labelled unit

function(snell_add_test NAME)
  cmake_parse_arguments(ARG "TORCH" "TIMEOUT" "SOURCES;MODULES;LIBS;RANKS;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${NAME} ${ARG_SOURCES} ${CMAKE_SOURCE_DIR}/tests/support/test_main.cpp)
  # Tests' helpers may have the same names in every file.
  set_target_properties(${NAME} PROPERTIES UNITY_BUILD OFF)
  target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${NAME} PRIVATE SNELL_SOURCE_DIR="${CMAKE_SOURCE_DIR}" SNELL_BINARY_DIR="${CMAKE_BINARY_DIR}")
  target_link_libraries(${NAME} PRIVATE snell_options snell_warnings GTest::gtest GTest::gmock ${ARG_LIBS})
  foreach(_module IN LISTS ARG_MODULES)
    target_link_libraries(${NAME} PRIVATE snell::${_module})
  endforeach()
  if(ARG_TORCH)
    target_link_libraries(${NAME} PRIVATE snell::torch)
  endif()
  if(ARG_RANKS)
    target_link_libraries(${NAME} PRIVATE snell::mpi)
    target_compile_definitions(${NAME} PRIVATE SNELL_TEST_MPI=1)
    foreach(_ranks IN LISTS ARG_RANKS)
      add_test(NAME ${NAME}.np${_ranks} COMMAND ${SNELL_MPIRUN} -np ${_ranks} $<TARGET_FILE:${NAME}>)
      set(_env "SNELL_TEST_WORLD_SIZE=${_ranks};OMP_NUM_THREADS=1;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
      set_tests_properties(${NAME}.np${_ranks} PROPERTIES ENVIRONMENT "${_env};${ARG_ENVIRONMENT}" LABELS "mpi;${ARG_LABELS}"
                           TIMEOUT ${ARG_TIMEOUT} PROCESSORS 2)
    endforeach()
  else()
    add_test(NAME ${NAME} COMMAND ${NAME})
    add_dependencies(unit_tests ${NAME})
    set_tests_properties(${NAME} PROPERTIES LABELS "unit;${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT} ENVIRONMENT "OMP_NUM_THREADS=2;${ARG_ENVIRONMENT}")
  endif()
endfunction()
