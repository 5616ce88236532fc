# Manual pages and shell completion: prose and script from deploy/man and deploy/completion, options and settings from the
# programs' own tables. Into build/<preset>/man and build/<preset>/completion, and with cmake --install to share/.
#
# Programs under a sanitizer may not start in every address layout, and nobody installs them: they come without documents.
if(PUSHGATE_SANITIZE OR PUSHGATE_FUZZ)
  return()
endif()

find_program(GZIP gzip REQUIRED)
set(DOCUMENTS)

# document(OUTPUT TEMPLATE [NAME=program argument]...): in the template, @NAME@ becomes what that program prints.
function(document output template)
  set(programs)
  foreach(part ${ARGN})
    string(REGEX MATCH "^([A-Z]+)=([^ ]+) (.*)$" _ ${part})
    list(APPEND programs ${CMAKE_MATCH_2})
    list(APPEND parts "${CMAKE_MATCH_1}=$<TARGET_FILE:${CMAKE_MATCH_2}> ${CMAKE_MATCH_3}")
  endforeach()
  string(JOIN "|" parts ${parts})
  get_filename_component(name ${output} NAME)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DTEMPLATE=${template} -DPROGRAM=${name} -DVERSION=${PROJECT_VERSION}
            "-DPARTS=${parts}" -P
            ${CMAKE_SOURCE_DIR}/deploy/document.cmake
    DEPENDS ${template} ${CMAKE_SOURCE_DIR}/deploy/document.cmake ${programs}
    COMMENT "Writing ${output}"
    VERBATIM)
endfunction()

function(manual page section)
  set(output ${CMAKE_BINARY_DIR}/man/${page}.${section})
  document(${output} ${CMAKE_SOURCE_DIR}/deploy/man/${page}.${section}.in ${ARGN})
  add_custom_command(OUTPUT ${output}.gz COMMAND ${GZIP} -9nkf ${output} DEPENDS ${output} VERBATIM)
  install(FILES ${output}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  set(DOCUMENTS ${DOCUMENTS} ${output}.gz PARENT_SCOPE)
endfunction()

function(completion program)
  set(output ${CMAKE_BINARY_DIR}/completion/${program})
  document(${output} ${CMAKE_SOURCE_DIR}/deploy/completion/bash.in ${ARGN})
  install(FILES ${output} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  set(DOCUMENTS ${DOCUMENTS} ${output} PARENT_SCOPE)
endfunction()

manual(pushgate 8 "OPTIONS=pushgate --print-man=options" "COMMANDS=pushgate --print-man=ctl-commands"
       "ASKING=pushgate --print-man=ctl-options")
manual(pushgate.conf 5 "SETTINGS=pushgate --print-man=settings")
manual(pushgate-load 1 "OPTIONS=pushgate-load --print-man=options" "MODES=pushgate-load --print-man=modes")
completion(pushgate "WORDS=pushgate --print-words" "CTL=pushgate --print-words=ctl")
completion(pushgate-load "WORDS=pushgate-load --print-words")
add_custom_target(documents ALL DEPENDS ${DOCUMENTS})
