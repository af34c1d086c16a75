// What happened, in words: who did what to which word, and where in the source.
#include <link.h>
#include <unistd.h>
#include <cstdio>
#include <map>
#include "machine.hpp"

namespace muster::simulated {
namespace {

// How far the program lies from where it was linked to.
std::uintptr_t load_bias() {
    std::uintptr_t bias = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* to) {
            *static_cast<std::uintptr_t*>(to) = info->dlpi_addr;
            return 1;  // the first is the program
        },
        &bias);
    return bias;
}

// "drain (queue_receive.cpp:30)", the innermost frames that are not the atomic's own; the bare address where there is no
// addr2line.
std::string place_of(const void* site) {
    static std::map<const void*, std::string> known;
    if (auto found = known.find(site); found != known.end()) return found->second;
    char command[256];
    char program[128] = {};
    if (readlink("/proc/self/exe", program, sizeof program - 1) <= 0) return {};
    std::snprintf(command, sizeof command, "addr2line -Cfise '%s' 0x%zx 2>/dev/null", program,
                  reinterpret_cast<std::uintptr_t>(site) - load_bias() - 1);
    std::string result;
    if (std::FILE* pipe = popen(command, "r")) {
        char function[512], line[512];
        int frames = 0;
        while (std::fgets(function, sizeof function, pipe) && std::fgets(line, sizeof line, pipe) && frames < 2) {
            std::string name(function), at(line);
            name.erase(name.find_last_not_of('\n') + 1);
            at.erase(at.find_last_not_of('\n') + 1);
            if (at.starts_with("atom.hpp") || at.starts_with("shm_word.hpp")) continue;
            if (const auto paren = name.find('('); paren != std::string::npos && paren != 0) name.resize(paren);
            result += (frames++ == 0 ? "" : " < ") + name + " (" + at + ")";
        }
        pclose(pipe);
    }
    if (result.empty()) {
        std::snprintf(command, sizeof command, "%p", site);
        result = command;
    }
    return known[site] = result;
}

}  // namespace

void Machine::record(const char* what, const void* address, std::uint64_t value, unsigned bytes, const void* site) {
    if (!tracing) return;
    traced_.push_back({step_,
                       value,
                       address,
                       site,
                       what,
                       static_cast<std::uint8_t>(current_ != nullptr ? current_->number : 255),
                       static_cast<std::uint8_t>(bytes),
                       {}});
}

void Machine::note(const std::string& what) {
    if (!tracing) return;
    traced_.push_back(
        {step_, 0, nullptr, nullptr, "", static_cast<std::uint8_t>(current_ != nullptr ? current_->number : 255), 0, what});
}

std::string Machine::trace() const {
    std::string all;
    const Traced* before = nullptr;
    std::size_t repeated = 0;
    for (const Traced& each : traced_) {
        // A loop that waits is told once.
        if (before != nullptr && each.text.empty() && before->what == each.what && before->address == each.address &&
            before->site == each.site && before->value == each.value && before->process == each.process) {
            ++repeated;
            continue;
        }
        if (repeated != 0) all += "           and " + std::to_string(repeated) + " times more\n";
        repeated = 0;
        before = &each;
        char line[512];
        char who[8] = "-";
        if (each.process != 255) std::snprintf(who, sizeof who, "P%u", each.process);
        if (!each.text.empty()) {
            std::snprintf(line, sizeof line, "%6llu %-3s ---- %s\n", static_cast<unsigned long long>(each.step), who,
                          each.text.c_str());
        } else if (each.address == nullptr) {
            std::snprintf(line, sizeof line, "%6llu %-3s %s P%llu\n", static_cast<unsigned long long>(each.step), who, each.what,
                          static_cast<unsigned long long>(each.value));
        } else {
            const std::string name = name_of ? name_of(each.address) : std::string();
            std::snprintf(line, sizeof line, "%6llu %-3s %-17s %-28s %#-12llx %s\n", static_cast<unsigned long long>(each.step),
                          who, each.what, name.c_str(), static_cast<unsigned long long>(each.value),
                          each.site != nullptr ? place_of(each.site).c_str() : "");
        }
        all += line;
    }
    return all;
}

}  // namespace muster::simulated
