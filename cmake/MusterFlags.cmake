# How Muster's own code is compiled. Nothing here reaches a program that uses it.

set(muster_warnings -Wall -Wextra -Wpedantic -Wconversion)
if(MUSTER_WERROR)
    list(APPEND muster_warnings -Werror)
endif()

# The code lives inside other people's programs: nothing may unwind through it, and its names stay its own.
# initial-exec: reaching thread storage from a signal handler or a fresh thread must never allocate.
# no FORTIFY: its headers define mq_open() and others inline, which the C door defines itself.
set(muster_inner_flags
    -fno-exceptions -fno-rtti -fvisibility=hidden -fvisibility-inlines-hidden -ftls-model=initial-exec -fno-plt
    -U_FORTIFY_SOURCE)

if(MUSTER_FUZZ)
    if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR NOT MUSTER_SANITIZER STREQUAL "address")
        message(FATAL_ERROR "The fuzzers need clang and MUSTER_SANITIZER=address: cmake --preset fuzz")
    endif()
    add_compile_options(-fsanitize=fuzzer-no-link)  # the library tells what it has reached
    add_link_options(-fsanitize=fuzzer-no-link)
endif()
if(MUSTER_SANITIZER STREQUAL "address")
    # vptr needs the type information that -fno-rtti leaves out.
    add_compile_options(-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined
                        -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
elseif(MUSTER_SANITIZER STREQUAL "thread")
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
    add_link_options(-fsanitize=thread)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # It only says that ThreadSanitizer does not follow fences; the reports themselves are judged.
        add_compile_options(-Wno-tsan)
    endif()
elseif(MUSTER_SANITIZER)
    message(FATAL_ERROR "MUSTER_SANITIZER is address, thread or empty, not '${MUSTER_SANITIZER}'")
endif()

# muster_add_layer(platform DEPENDS ...): src/<layer>/*.cpp as the static library muster_<layer>;
# a layer of headers alone is an interface library.
function(muster_add_layer layer)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPENDS")
    set(target muster_${layer})
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${layer}/*.cpp")
    if(sources)
        add_library(${target} STATIC ${sources})
        target_compile_options(${target} PRIVATE ${muster_warnings} ${muster_inner_flags})
        set(scope PUBLIC)
    else()
        add_library(${target} INTERFACE)
        set(scope INTERFACE)
    endif()
    target_include_directories(${target} ${scope} "${PROJECT_SOURCE_DIR}/src")
    target_link_libraries(${target} ${scope} ${arg_DEPENDS})
    if(MUSTER_TESTING)
        target_compile_definitions(${target} ${scope} MUSTER_TESTING)
    endif()
endfunction()
