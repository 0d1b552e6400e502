# Headers that most files include are parsed once for all libraries and once for all test programs
# (whose code is position independent in another way, with googletest's definitions). A file still
# includes what it uses: the presets `files` and `release` are built without this.
set(headers <algorithm> <array> <atomic> <charconv> <chrono> <condition_variable> <cstdint> <cstring>
  <filesystem> <functional> <map> <memory> <mutex> <optional> <set> <span> <string> <string_view>
  <thread> <utility> <variant> <vector> <soci/soci.h>)
find_package(GTest REQUIRED)
file(WRITE ${CMAKE_BINARY_DIR}/precompiled/library.cpp "")
file(WRITE ${CMAKE_BINARY_DIR}/precompiled/test.cpp "int main() {}\n")
add_library(precompiled_library OBJECT ${CMAKE_BINARY_DIR}/precompiled/library.cpp)
target_link_libraries(precompiled_library PRIVATE flags soci)
target_precompile_headers(precompiled_library PRIVATE ${headers})
add_executable(precompiled_test ${CMAKE_BINARY_DIR}/precompiled/test.cpp)
target_link_libraries(precompiled_test PRIVATE flags soci GTest::gtest)
target_precompile_headers(precompiled_test PRIVATE ${headers} <gtest/gtest.h>)

function(precompile_in directory)
  get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    get_target_property(libraries ${target} LINK_LIBRARIES)
    get_target_property(hidden ${target} CXX_VISIBILITY_PRESET)
    if(hidden)
      continue()  # its code is another
    endif()
    if(type MATCHES "^(STATIC|OBJECT|MODULE|SHARED)")
      target_precompile_headers(${target} REUSE_FROM precompiled_library)
    elseif(type STREQUAL "EXECUTABLE" AND "GTest::gtest" IN_LIST libraries)
      target_precompile_headers(${target} REUSE_FROM precompiled_test)
    endif()
  endforeach()
  get_property(below DIRECTORY ${directory} PROPERTY SUBDIRECTORIES)
  foreach(one ${below})
    precompile_in(${one})
  endforeach()
endfunction()
foreach(room base hsm server kms vault tests)
  precompile_in(${CMAKE_SOURCE_DIR}/${room})
endforeach()
