# cmake -DOUTPUT=FILE -DTEMPLATE=FILE -DPROGRAM=NAME -DVERSION=N -DPARTS="NAME=program argument|..." -P document.cmake
# Writes the template with @PROGRAM@, @FUNCTION@ (the same for a shell function), @VERSION@ and, for each part, @NAME@ filled in by
# what the program prints.
string(REPLACE "|" ";" parts "${PARTS}")
foreach(part IN LISTS parts)
  string(REGEX MATCH "^([A-Z]+)=(.+) ([^ ]+)$" _ "${part}")
  set(name ${CMAKE_MATCH_1})
  execute_process(COMMAND ${CMAKE_MATCH_2} ${CMAKE_MATCH_3} OUTPUT_VARIABLE ${name} RESULT_VARIABLE status ENCODING UTF-8)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${part}: ${status}")
  endif()
  string(REGEX REPLACE "\n$" "" ${name} "${${name}}")
endforeach()
string(MAKE_C_IDENTIFIER "${PROGRAM}" FUNCTION)
configure_file(${TEMPLATE} ${OUTPUT}.new @ONLY)
file(RENAME ${OUTPUT}.new ${OUTPUT})
