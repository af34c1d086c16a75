#include "arguments.hpp"
#include <algorithm>
#include <charconv>

namespace muster::cli {
namespace {

constexpr char kTokenMark = '\x01';

Arguments& originals() {
    static Arguments kept;
    return kept;
}

bool is_option(const std::string& argument) {
    return argument.size() > 1 && argument[0] == '-';
}

std::size_t skip_options(const Arguments& arguments, std::size_t i) {
    while (i < arguments.size() && is_option(arguments[i]) && arguments[i] != "--") i += arguments[i] == "--domain" ? 2 : 1;
    return i < arguments.size() ? i : arguments.size();
}

}  // namespace

std::size_t command_index(const Arguments& arguments) {
    return skip_options(arguments, 0);
}

void translate_help(Arguments& arguments) {
    if (arguments.empty() || arguments[0] != "help") return;
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
}

Arguments split_program(Arguments& arguments) {
    const std::size_t command = command_index(arguments);
    if (command == arguments.size()) return {};
    std::size_t end = arguments.size();
    if (arguments[command] == "run") {
        end = skip_options(arguments, command + 1);
    } else if (arguments[command] == "sem") {
        const std::size_t verb = skip_options(arguments, command + 1);
        if (verb == arguments.size() || arguments[verb] != "hold") return {};
        end = static_cast<std::size_t>(std::find(arguments.begin() + static_cast<std::ptrdiff_t>(verb), arguments.end(), "--") -
                                       arguments.begin());
    }
    if (end == arguments.size()) return {};
    const std::size_t program = arguments[end] == "--" ? end + 1 : end;
    Arguments rest(arguments.begin() + static_cast<std::ptrdiff_t>(program), arguments.end());
    arguments.resize(end);
    return rest;
}

void protect_messages(Arguments& arguments) {
    const std::size_t command = command_index(arguments);
    if (command == arguments.size() || arguments[command] != "send") return;
    Arguments out(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(command) + 1);
    bool options_end = false;
    for (std::size_t i = command + 1; i < arguments.size(); ++i) {
        if (!options_end && arguments[i] == "--") {
            options_end = true;
        } else if (!options_end && is_option(arguments[i])) {
            out.push_back(arguments[i]);
            if (arguments[i] == "--domain" && i + 1 < arguments.size())
                out.push_back(arguments[++i]);  // read by main, not by send
        } else {
            out.push_back(kTokenMark + std::to_string(originals().size()));
            originals().push_back(arguments[i]);
        }
    }
    arguments = std::move(out);
}

std::string plain(const std::string& argument) {
    std::size_t index = 0;
    if (argument.empty() || argument[0] != kTokenMark) return argument;
    const auto parsed = std::from_chars(argument.data() + 1, argument.data() + argument.size(), index);
    return parsed.ec == std::errc{} && index < originals().size() ? originals()[index] : argument;
}

}  // namespace muster::cli
