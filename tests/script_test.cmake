# script_test(<name> <file> [ARGUMENTS <word>…] [LONG] [TIMEOUT <seconds>] [COST <seconds>]): a test in Python that gets
# the folder of the built programs and ARGUMENTS. LONG: it has a long form too, <name>.long, with LONG=1 in its
# environment and the label "long", which the test presets leave out but dev-long.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
if(NOT STRONGROOM_PYTHON)
  # What a version manager puts in the PATH is a script that looks for the interpreter anew at every start.
  execute_process(COMMAND ${Python3_EXECUTABLE} -c "import sys; print(sys.executable)"
    OUTPUT_VARIABLE python OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(STRONGROOM_PYTHON ${python} CACHE INTERNAL "the interpreter of tests in Python")
endif()

function(script_test name file)
  cmake_parse_arguments(ARG "LONG" "TIMEOUT;COST" "ARGUMENTS" ${ARGN})
  set(command ${STRONGROOM_PYTHON} -B ${file} ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} ${ARG_ARGUMENTS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${command})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} COST 0${ARG_COST})
  if(STRONGROOM_SANITIZE)
    set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED reports)
  endif()
  if(ARG_LONG)
    add_test(NAME ${name}.long COMMAND ${command})
    set_tests_properties(${name}.long PROPERTIES LABELS long ENVIRONMENT LONG=1 TIMEOUT 1200 COST 100)
  endif()
endfunction()
