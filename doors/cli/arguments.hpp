// What must happen to the command line before CLI11 sees it.
#pragma once
#include <string>
#include <vector>

namespace muster::cli {

using Arguments = std::vector<std::string>;

// The index of the command's name: the first argument that is no option. arguments.size() if there is none.
std::size_t command_index(const Arguments& arguments);

// `muster help send` is `muster send --help`.
void translate_help(Arguments& arguments);

// `muster run [options] PROGRAM ARG…`, `muster sem hold OBJECT [options] -- COMMAND ARG…`: from the program on, behind the "--"
// of `sem hold`, everything is the program's, whatever it looks like. Removes that part from `arguments` and returns it.
Arguments split_program(Arguments& arguments);

// `muster send /q MESSAGE…`: messages are bytes, but CLI11 gives a meaning to "{}", "%%", "[a,b]", an empty argument, and names
// of commands. Replaces what is no option by tokens; plain() gives the original back.
void protect_messages(Arguments& arguments);
std::string plain(const std::string& argument);

}  // namespace muster::cli
