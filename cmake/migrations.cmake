# postern_embed_migrations(OUT): the numbered files of schema/migrations as a C++ source, so that a server carries its own
# schema. Files are named NNNN_what.sql, numbered from 0001 without a gap.
function(postern_embed_migrations out)
  set(dir ${CMAKE_SOURCE_DIR}/schema/migrations)
  file(GLOB files CONFIGURE_DEPENDS ${dir}/*.sql)
  list(SORT files)
  set(expected 0)
  set(entries "")
  foreach(file IN LISTS files)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    get_filename_component(name ${file} NAME)
    math(EXPR expected "${expected} + 1")
    string(REGEX MATCH "^0*([1-9][0-9]*)_[a-z0-9_]+\\.sql$" matched ${name})
    if(NOT matched OR NOT CMAKE_MATCH_1 EQUAL expected)
      message(FATAL_ERROR "schema/migrations/${name}: expected number ${expected} and a name like 0001_what.sql")
    endif()
    file(READ ${file} sql)
    string(APPEND entries "    {${expected}, \"${name}\", R\"POSTERN_SQL(${sql})POSTERN_SQL\"},\n")
  endforeach()
  file(CONFIGURE OUTPUT ${out} @ONLY CONTENT [=[
// Generated from schema/migrations by cmake/migrations.cmake.
#include "runtime/store/store.hpp"

namespace postern::runtime {

std::span<const Migration> embedded_migrations() {
  static constexpr Migration kMigrations[] = {
@entries@  };
  return kMigrations;
}

}  // namespace postern::runtime
]=])
endfunction()
