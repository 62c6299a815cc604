# Compiler cache, linker, warnings, sanitizers and OpenMP: everything that is about the tools and not about a library.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(SNELL_CCACHE ccache)
if(SNELL_CCACHE)
  # Precompiled headers and ccache agree only with these settings (ccache's manual, "Precompiled headers"). Paths below the
  # source folder count relative to the build folder, so that other checkouts and other presets hit the same cache.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${SNELL_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${SNELL_CCACHE})
endif()

find_program(SNELL_MOLD mold)
if(SNELL_MOLD)
  # mold 1.10 begins a program's RELRO segment at its thread-local data (at::parallel_for brings some), a few bytes before
  # the first page of its own data. Where these begin at the very start of a page, that is a page which is not mapped, and
  # the program does not start ("cannot apply additional memory protection"): about one link in 256.
  add_link_options(-fuse-ld=mold -Wl,-z,norelro)
endif()

find_package(OpenMP REQUIRED COMPONENTS CXX) # at::parallel_for is serial in sources compiled without it
find_package(Threads REQUIRED)

# -Wrestrict of GCC 12 is wrong about std::string (its bug 105651).
add_library(snell_warnings INTERFACE)
target_compile_options(snell_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-restrict $<$<BOOL:${SNELL_WERROR}>:-Werror>>)

add_library(snell_options INTERFACE)
target_include_directories(snell_options INTERFACE ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(snell_options INTERFACE Threads::Threads)
target_compile_options(snell_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
if(SNELL_SANITIZE)
  target_compile_options(snell_options INTERFACE -fsanitize=${SNELL_SANITIZE} -fno-sanitize-recover=undefined -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS)
  # Instrumented code makes this warning wrong (about copies of std::optional in LibTorch's headers); other builds keep it.
  target_compile_options(snell_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>)
  target_link_options(snell_options INTERFACE -fsanitize=${SNELL_SANITIZE})
endif()
