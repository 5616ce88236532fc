# Run by CPack between installing into its scratch tree and packing that: what only a Debian package has, and the dates.
set(debian ${CPACK_PUSHGATE_SOURCE}/deploy/debian)
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(doc ${root}/usr/share/doc/pushgate)
find_program(GZIP gzip REQUIRED)

set(epoch $ENV{SOURCE_DATE_EPOCH})
if(NOT epoch)
  execute_process(COMMAND git -C ${CPACK_PUSHGATE_SOURCE} log -1 --format=%ct OUTPUT_VARIABLE epoch OUTPUT_STRIP_TRAILING_WHITESPACE
                  ERROR_QUIET)
endif()
if(NOT epoch)
  string(TIMESTAMP epoch %s UTC)
endif()
set(ENV{SOURCE_DATE_EPOCH} ${epoch})
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)

# Settings hold secrets: nobody else reads them, not for a moment. postinst lets the service's group.
file(COPY ${debian}/pushgate.conf DESTINATION ${root}/etc/pushgate FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ)
file(COPY ${debian}/copyright DESTINATION ${doc})
configure_file(${debian}/changelog.in ${doc}/changelog.Debian @ONLY)
configure_file(${CPACK_PUSHGATE_SOURCE}/CHANGELOG.md ${doc}/changelog COPYONLY)
execute_process(COMMAND ${GZIP} -9n ${doc}/changelog.Debian ${doc}/changelog COMMAND_ERROR_IS_FATAL ANY)
configure_file(${debian}/lintian-overrides ${root}/usr/share/lintian/overrides/pushgate COPYONLY)

file(GLOB_RECURSE all LIST_DIRECTORIES true ${root}/*)
foreach(path ${all})
  if(IS_DIRECTORY ${path})
    file(CHMOD ${path} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  endif()
endforeach()
execute_process(COMMAND find ${root} -exec touch --no-dereference --date=@${epoch} {} + COMMAND_ERROR_IS_FATAL ANY)
