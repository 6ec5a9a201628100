# postern_library(), postern_app(): one line declares a library, its layer, its tests and what it may use.
#
# Layers (ARCHITECTURE.md "Layers"): a library links to strictly lower layers; anything else stops the configuration.
# Sources, and tests named *_test.cpp, are found in the library's own folder. A library without sources is INTERFACE.

set(POSTERN_STD_HEADERS <algorithm> <array> <chrono> <cstdint> <cstring> <deque> <expected> <functional> <map> <memory>
    <optional> <span> <string> <string_view> <tuple> <unordered_map> <utility> <variant> <vector>)

# One precompiled header for all libraries without heavy dependencies, one for all tests.
file(WRITE ${CMAKE_BINARY_DIR}/pch/empty.cpp "")
add_library(postern_pch STATIC ${CMAKE_BINARY_DIR}/pch/empty.cpp)
target_link_libraries(postern_pch PUBLIC postern_options)
target_precompile_headers(postern_pch PRIVATE ${POSTERN_STD_HEADERS})
# (an executable, because a precompiled header fits only objects with the same -fPIE or -fPIC)
file(WRITE ${CMAKE_BINARY_DIR}/pch/empty_test.cpp "int main() {}\n")
add_executable(postern_test_pch ${CMAKE_BINARY_DIR}/pch/empty_test.cpp)
target_link_libraries(postern_test_pch PRIVATE postern_options GTest::gmock)
target_precompile_headers(postern_test_pch PRIVATE ${POSTERN_STD_HEADERS} <gmock/gmock.h> <gtest/gtest.h>)

function(_postern_check_layer name layer)
  foreach(dep IN LISTS ARGN)
    get_property(dep_layer GLOBAL PROPERTY POSTERN_LAYER_${dep})
    if(dep_layer STREQUAL "")
      message(FATAL_ERROR "layers: '${name}' depends on '${dep}', which is not declared before it")
    endif()
    if(NOT dep_layer LESS layer)
      message(FATAL_ERROR "layers: '${name}' (layer ${layer}) may not link to '${dep}' (layer ${dep_layer}): "
                          "a library links only to strictly lower layers, see ARCHITECTURE.md")
    endif()
  endforeach()
endfunction()

# postern_library(NAME LAYER 21 [DEPS base wire …] [LIBS third-party targets …])
# NAME is the folder under libs/ with '/' for sub-folders; layers 4a and 4b are written 40 and 45, 0 to 3 as 0, 10, 20, 30.
function(postern_library name)
  cmake_parse_arguments(ARG "" "LAYER" "DEPS;LIBS" ${ARGN})
  string(REPLACE "/" "_" target ${name})
  _postern_check_layer(${name} ${ARG_LAYER} ${ARG_DEPS})
  set_property(GLOBAL PROPERTY POSTERN_LAYER_${name} ${ARG_LAYER})

  set(dir ${CMAKE_SOURCE_DIR}/libs/${name})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${dir}/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  set(dep_targets ${ARG_DEPS})
  list(TRANSFORM dep_targets REPLACE "/" "_")
  list(TRANSFORM dep_targets PREPEND postern_)

  if(sources)
    add_library(postern_${target} STATIC ${sources})
    target_link_libraries(postern_${target} PUBLIC postern_options ${dep_targets} ${ARG_LIBS})
    if(ARG_LAYER LESS 40)
      target_precompile_headers(postern_${target} REUSE_FROM postern_pch)
    endif()
  else()
    add_library(postern_${target} INTERFACE)
    target_link_libraries(postern_${target} INTERFACE postern_options ${dep_targets} ${ARG_LIBS})
  endif()
  if(tests)
    add_executable(${target}_test ${tests})
    target_link_libraries(${target}_test PRIVATE postern_${target} GTest::gmock GTest::gtest_main)
    target_precompile_headers(${target}_test REUSE_FROM postern_test_pch)
    set_target_properties(${target}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    # __FILE__ may be relative to the build folder (ccache's base directory); tests that read a document start there.
    add_test(NAME ${target} COMMAND ${target}_test --gtest_brief=1 WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  endif()
endfunction()

# postern_proto(TARGET file.proto …): LITE_RUNTIME messages of schema/, as a library with warnings off.
function(postern_proto target)
  add_library(${target} STATIC)
  foreach(proto IN LISTS ARGN)
    get_filename_component(stem ${proto} NAME_WE)
    set(out ${CMAKE_BINARY_DIR}/gen/schema/${stem}.pb)
    add_custom_command(OUTPUT ${out}.cc ${out}.h
      COMMAND protobuf::protoc --proto_path=${CMAKE_SOURCE_DIR} --cpp_out=${CMAKE_BINARY_DIR}/gen
              ${CMAKE_SOURCE_DIR}/schema/${proto}
      DEPENDS ${CMAKE_SOURCE_DIR}/schema/${proto} VERBATIM)
    target_sources(${target} PRIVATE ${out}.cc ${out}.h)
  endforeach()
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/gen/schema)
  target_include_directories(${target} SYSTEM PUBLIC ${CMAKE_BINARY_DIR}/gen)
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf-lite)
endfunction()

# postern_app(NAME DIR main.cpp… DEPS …): a program; its main() is at most 150 lines (tools/lint checks).
function(postern_app name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  set(dep_targets ${ARG_DEPS})
  list(TRANSFORM dep_targets REPLACE "/" "_")
  list(TRANSFORM dep_targets PREPEND postern_)
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE postern_options ${dep_targets} ${ARG_LIBS})
endfunction()
