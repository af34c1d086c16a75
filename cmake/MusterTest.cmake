# muster_add_gtest(<name> SOURCES a_test.cpp ... [LINK targets] [LABELS labels] [TIMEOUT seconds] [SERIAL])
#
# One program of GoogleTest cases, each case a CTest test "<name>.Suite.Case". Labels in use:
#   unit crash conformance   what it is
#   clients                  runs other people's programs on a preloaded library
#   package                  installs, or judges the built files
#   no_sanitizer, no_tsan    makes no sense, or cannot run, in those builds; the reason stands where the label is given
function(muster_add_gtest name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL" "TIMEOUT" "SOURCES;LINK;LABELS")
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    string(MAKE_C_IDENTIFIER "${name}_test" target)
    add_executable(${target} ${arg_SOURCES})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
    target_compile_options(${target} PRIVATE ${muster_warnings})
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/tests")
    target_link_libraries(${target} PRIVATE ${arg_LINK} GTest::gmock GTest::gtest_main)
    muster_tell_paths(${target})
    # Cases are listed when CTest runs, not while building: a sanitized program may need a special start.
    gtest_discover_tests(${target}
        TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
        PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} RUN_SERIAL "$<BOOL:${arg_SERIAL}>")
endfunction()

# Lets a test program know the built command and the C door's library (without linking the latter).
function(muster_tell_paths target)
    if(TARGET muster_posix)
        target_compile_definitions(${target} PRIVATE MUSTER_POSIX_LIBRARY="$<TARGET_FILE:muster_posix>")
        add_dependencies(${target} muster_posix)
    endif()
    if(TARGET muster_cli)
        target_compile_definitions(${target} PRIVATE MUSTER_COMMAND="$<TARGET_FILE:muster_cli>")
        add_dependencies(${target} muster_cli)
    endif()
endfunction()

# muster_add_script_test(<name> SCRIPT x.sh [ARGUMENTS ...] [LABELS ...] [TIMEOUT seconds] [SERIAL])
#
# A bash script as a test; exit status 77 means "skipped", with the reason printed. MUSTER_COMMAND and
# MUSTER_POSIX_LIBRARY tell it where the built files are.
function(muster_add_script_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL" "TIMEOUT;SCRIPT" "ARGUMENTS;LABELS")
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    get_filename_component(script "${arg_SCRIPT}" ABSOLUTE)
    add_test(NAME ${name} COMMAND bash "${script}" ${arg_ARGUMENTS})
    set(environment)
    if(TARGET muster_cli)
        list(APPEND environment "MUSTER_COMMAND=$<TARGET_FILE:muster_cli>")
    endif()
    if(TARGET muster_posix)
        list(APPEND environment "MUSTER_POSIX_LIBRARY=$<TARGET_FILE:muster_posix>")
    endif()
    set_tests_properties(${name} PROPERTIES
        LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} SKIP_RETURN_CODE 77 ENVIRONMENT "${environment}"
        RUN_SERIAL "$<BOOL:${arg_SERIAL}>")
endfunction()
