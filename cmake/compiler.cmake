# Language level, warnings, linker, ccache and the sanitizer presets, in one place.

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(POSTERN_CCACHE ccache)
if(POSTERN_CCACHE)
  # pch_defines and time_macros let ccache reuse objects that were compiled against a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${POSTERN_CCACHE})
endif()

set(POSTERN_SANITIZE "" CACHE STRING "value of -fsanitize, empty for none")

add_library(postern_options INTERFACE)
target_compile_options(postern_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wimplicit-fallthrough -Werror -fno-omit-frame-pointer -fpch-preprocess)
target_include_directories(postern_options INTERFACE ${CMAKE_SOURCE_DIR}/libs)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # Only fuzzing uses clang. g++ is the judge of warnings; the library's own bounds checks help to find bugs.
  target_compile_options(postern_options INTERFACE -Wno-error)
  target_compile_definitions(postern_options INTERFACE _GLIBCXX_ASSERTIONS)
endif()
if(POSTERN_SANITIZE)
  target_compile_options(postern_options INTERFACE -fsanitize=${POSTERN_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(postern_options INTERFACE -fsanitize=${POSTERN_SANITIZE})
else()
  target_compile_definitions(postern_options INTERFACE $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
  target_compile_options(postern_options INTERFACE -fstack-protector-strong)
endif()
find_program(POSTERN_MOLD mold)
if(POSTERN_MOLD)
  target_link_options(postern_options INTERFACE -fuse-ld=mold)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
