// What `muster run` must know of a program before it starts it.
#pragma once
#include <optional>
#include <string>
#include "failure.hpp"

namespace muster::cli {

// The file that a shell would execute for `name`; fails with 126 or 127 as a shell does.
std::string find_program(const std::string& name);

// Why a preloaded library could not work in this program, or nothing. Follows scripts to their interpreters.
std::optional<Failure> examine_program(const std::string& path);

// A script without an interpreter line, which shells hand to /bin/sh.
bool is_plain_script(const std::string& path);

// The absolute path of libmuster_posix.so that belongs to this command, or MUSTER_LIBRARY.
std::string find_library();

// A value for LD_PRELOAD that leads to `library`. The loader splits that variable at blanks and colons and knows no
// quoting: such a path is reached through a link with a harmless name, in `link_directory` if that is not empty,
// else in a place of this user's own that all later runs share.
std::string preloadable(const std::string& library, const std::string& link_directory);

}  // namespace muster::cli
