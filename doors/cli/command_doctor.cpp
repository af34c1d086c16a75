// muster doctor: what is wrong with this machine or domain, and what to do.
#include <fmt/format.h>
#include <memory>
#include "command.hpp"
#include "doctor_checks.hpp"
#include "output.hpp"
#include "report.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

int doctor(const std::string& root, const Global& global) {
    Patient patient{{}, "", root};
    try {
        patient.domain = open_domain(global);
    } catch (const Failure& failure) {  // that is what people come for
        patient.why_not = failure.text;
    }
    const Diagnosis diagnosis = examine(patient);
    if (global.json) {
        Json list = Json::array();
        for (const Advice& one : diagnosis.found)
            list.push_back({{"check", one.check}, {"what", one.what}, {"why", one.why}, {"fix", one.fix}});
        print(dump(list));
    } else {
        std::string text;
        for (const Advice& one : diagnosis.found) text += fmt::format("{}\n  why  {}\n  fix  {}\n\n", one.what, one.why, one.fix);
        const std::string where = patient.domain ? patient.domain->path() : "no domain";
        text += diagnosis.found.empty() ? fmt::format("{}: nothing found by {}\n", where, counted(diagnosis.checks, "check"))
                                        : fmt::format("{}: {}\n", where, counted(diagnosis.found.size(), "finding"));
        print(text);
    }
    return diagnosis.found.empty() ? kOk : kError;
}

}  // namespace

void add_doctor(Registry& registry) {
    auto root = std::make_shared<std::string>();
    CLI::App* command = registry.add(
        "doctor", "Look for what keeps Muster from working well",
        "  muster doctor\n"
        "  muster --domain /dev/shm/app doctor --json\n"
        "Looks at the domain and its file system, logind, sysctls, limits of this shell, system calls that a container may\n"
        "refuse, and /proc. Tells what it found, why it matters and what to type. Ends with 0 if it found nothing, else 1.");
    command->add_option("--root", *root, "Read /etc, /proc and /run below this directory")->type_name("DIRECTORY");
    registry.actions.emplace_back(command, [root, &registry] { return doctor(*root, registry.global); });
}

}  // namespace muster::cli
