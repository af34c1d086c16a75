// json_check [--lines] [POINTER]: exit 0 if standard input is JSON (with --lines: each line is).
// With a JSON pointer such as /0/name, prints what stands there: strings as they are, the rest as JSON; exit 1 if nothing does.
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace {

bool show(const std::string& text, const std::string& pointer) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    if (json.is_discarded()) {
        std::cerr << "not JSON: " << text << '\n';
        return false;
    }
    if (pointer.empty()) return true;
    const nlohmann::json::json_pointer at(pointer);
    if (!json.contains(at)) return false;
    const auto& value = json.at(at);
    std::cout << (value.is_string() ? value.get<std::string>() : value.dump()) << '\n';
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    const bool lines = argc > 1 && std::string(argv[1]) == "--lines";
    const std::string pointer = argc > (lines ? 2 : 1) ? argv[lines ? 2 : 1] : "";
    if (!lines) return show({std::istreambuf_iterator<char>(std::cin), {}}, pointer) ? 0 : 1;
    for (std::string line; std::getline(std::cin, line);)
        if (!show(line, pointer)) return 1;
    return 0;
}
