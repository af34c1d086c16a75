# What an installation consists of: the command, the libraries, headers, manual pages, and how CMake and pkg-config find them.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/muster")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/muster" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")

set(installed)
foreach(target muster muster_shared muster_posix muster_cli)
    if(TARGET ${target})
        list(APPEND installed ${target})
    endif()
endforeach()
if(TARGET muster_posix)
    set_target_properties(muster_posix PROPERTIES EXPORT_NAME posix)
endif()
list(REMOVE_ITEM installed muster_cli)
install(TARGETS ${installed} EXPORT muster
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
if(TARGET muster_cli)
    install(TARGETS muster_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
install(EXPORT muster NAMESPACE muster:: FILE musterTargets.cmake DESTINATION "${package_dir}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/musterConfig.cmake.in" "${PROJECT_BINARY_DIR}/musterConfig.cmake"
    INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/musterConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/musterConfig.cmake" "${PROJECT_BINARY_DIR}/musterConfigVersion.cmake" DESTINATION "${package_dir}")

# The prefix in the .pc files is worked out from where they lie, so an installation may be moved, or go to another --prefix
# than the one that was configured.
file(RELATIVE_PATH pc_to_prefix "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
foreach(name muster muster_posix)
    configure_file("${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in" "${PROJECT_BINARY_DIR}/${name}.pc" @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/${name}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()

file(GLOB manual_pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/*.[1-8]" "${PROJECT_SOURCE_DIR}/docs/man/*.[1-8]")
foreach(page IN LISTS manual_pages)
    string(REGEX REPLACE ".*\\.([1-8])$" "\\1" section "${page}")
    install(FILES "${page}" DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}")
endforeach()
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
