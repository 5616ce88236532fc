# What the package holds beside programs, manual pages and completion, and how CPack makes a .deb of it:
#
#   cmake --preset release && cmake --build build/release --target deb
#
# The same files with the same dates give the same package, byte for byte; dates are the last commit's, or $SOURCE_DATE_EPOCH.
set(deploy ${CMAKE_SOURCE_DIR}/deploy)
set(PUSHGATE_UNIT_DIR lib/systemd/system CACHE STRING "Where the systemd unit goes, below the prefix")
set(documents ${CMAKE_INSTALL_DATADIR}/doc/pushgate)
set(examples ${documents}/examples)

install(FILES ${deploy}/systemd/pushgate.service DESTINATION ${PUSHGATE_UNIT_DIR})
install(FILES ${deploy}/systemd/pushgate.sysusers DESTINATION lib/sysusers.d RENAME pushgate.conf)
install(FILES ${deploy}/systemd/port-443.conf ${deploy}/systemd/credentials.conf DESTINATION ${examples}/systemd)
# An example, not in force: what a million connections want of the kernel is not what every machine should have.
install(FILES ${deploy}/sysctl.d/pushgate.conf DESTINATION ${examples}/sysctl.d)
# Documents link to one another and to files beside them, so each keeps its place in the tree.
foreach(document README.md deploy/OPERATIONS.md gateway/API.md gateway/ARCHITECTURE.md gateway/STATUS.md gateway/adapter/CENTRIFUGE.md
                 gateway/proxy/HOOKS.md proto/PROTOCOLS.md proto/TLS.md)
  get_filename_component(place ${document} DIRECTORY)
  install(FILES ${document} DESTINATION ${documents}/${place})
endforeach()
foreach(folder grafana haproxy kubernetes nginx prometheus sysctl.d systemd)
  install(DIRECTORY ${deploy}/${folder} DESTINATION ${documents}/deploy)
endforeach()

find_program(DPKG_SHLIBDEPS dpkg-shlibdeps)
if(NOT DPKG_SHLIBDEPS OR PUSHGATE_SANITIZE OR PUSHGATE_FUZZ)
  return()
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME pushgate)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The pushgate authors <pushgate@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "WebSocket push gateway for millions of idle connections")
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_THREADS 0)
set(CPACK_PRE_BUILD_SCRIPTS ${deploy}/debian/stage.cmake)
set(CPACK_PUSHGATE_SOURCE ${CMAKE_SOURCE_DIR})

set(PUSHGATE_DEB_REVISION 1 CACHE STRING "Debian revision of the package")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${PUSHGATE_DEB_REVISION})
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers, init-system-helpers (>= 1.54)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "redis-tools, prometheus")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${deploy}/debian/conffiles ${deploy}/debian/postinst ${deploy}/debian/prerm
                                       ${deploy}/debian/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Browsers subscribe to topics over wss, backends publish to topics with any
Redis client, and each message is fanned out to everybody who subscribed.
Clients of the Centrifuge protocol connect as they are.
.
This package has the gateway with its service, and pushgate-load, which loads
a WebSocket server and checks that every message arrived once and in order.")
include(CPack)

add_custom_target(
  deb
  COMMAND ${CMAKE_CPACK_COMMAND} -G DEB --config ${CMAKE_BINARY_DIR}/CPackConfig.cmake
  DEPENDS pushgate pushgate-load documents
  WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
  USES_TERMINAL VERBATIM)
