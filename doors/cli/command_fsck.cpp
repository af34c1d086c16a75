// muster fsck: checks objects, mends what can be mended, saves what can be read.
#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include <set>
#include "command.hpp"
#include "object_name.hpp"
#include "output.hpp"
#include "report.hpp"
#include "salvage.hpp"
#include "text.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string name;
    bool repair = false;
    SalvageRequest salvage;
};

std::string stakes(std::uint64_t messages, std::uint64_t bytes) {
    std::string text;
    if (messages > 0) text = counted(messages, "message");
    if (bytes > 0) text += (text.empty() ? "" : ", ") + human_bytes(bytes);
    return text;
}

// "damaged: /jobs: the index holds another number of messages than it says; --repair: made anew from the messages"
std::string line_of(const Finding& finding) {
    const std::string_view word = finding.harmless ? "note" : finding.repaired ? "repaired" : "damaged";
    std::string text = fmt::format("{}: {}: {}", word, escaped(finding.object.empty() ? finding.path : finding.object), escaped(finding.what));
    if (const std::string at_stake = stakes(finding.messages_at_stake, finding.bytes_at_stake); !at_stake.empty()) text += fmt::format(" ({})", at_stake);
    if (!finding.remedy.empty()) text += (finding.repairable && !finding.repaired ? "; --repair: " : "; ") + escaped(finding.remedy);
    if (!finding.repaired && !finding.repairable && !finding.harmless && !finding.object.empty()) text += fmt::format(" [{}]", escaped(finding.path));
    return text + "\n";
}

std::string summary_of(const std::vector<Finding>& findings, std::uint64_t checked, const Options& options, const Global& global) {
    std::set<std::string> damaged, left, mendable;
    std::uint64_t messages = 0, bytes = 0;
    for (const Finding& finding : findings) {
        if (finding.harmless) continue;
        damaged.insert(finding.path);
        messages += finding.messages_at_stake;
        bytes += finding.bytes_at_stake;
        if (!finding.repaired) (finding.repairable ? mendable : left).insert(finding.path);
    }
    std::string text = counted(checked, "object") + " checked";
    if (damaged.empty()) return text + ", all well\n";
    text += fmt::format(", {} damaged", damaged.size());
    if (const std::string at_stake = stakes(messages, bytes); !at_stake.empty()) text += fmt::format(": {} at stake", at_stake);
    const std::string object = options.name.empty() ? "" : " " + options.name;
    std::size_t whole = 0;
    for (const std::string& path : mendable) whole += left.count(path) == 0 ? 1 : 0;
    if (options.repair && left.empty() && mendable.empty())
        text += "; all of it was repaired";
    else if (options.repair)
        text += fmt::format("; {} could not be repaired wholly", left.size() + whole);
    else if (whole > 0)
        text += fmt::format("; {} mends {}", global.command("fsck --repair" + object), whole);
    if (!left.empty()) text += fmt::format("; {} saves what can be read", global.command("fsck --salvage OUT" + (object.empty() ? " OBJECT" : object)));
    return text + "\n";
}

int fsck(const Options& options, const Global& global) {
    if (!options.salvage.out.empty()) {
        if (options.repair) fail(kUsage, "fsck: --repair and --salvage exclude each other; salvage first, it changes nothing");
        SalvageRequest request = options.salvage;
        request.name = options.name;
        return salvage(request, global);
    }
    if (!options.salvage.geometry.empty()) fail(kUsage, "fsck: --geometry goes with --salvage");
    const ObjectName object = options.name.empty() ? ObjectName{} : parse_object_name(options.name);
    const Domain domain = open_domain(global);
    const std::string path = options.name.empty() ? "" : find_object(domain, object, global).path;
    std::uint64_t checked = 1;
    if (path.empty() && !global.json) {
        const auto all = require(domain.list(), Doing::inspecting, global);
        checked = static_cast<std::uint64_t>(std::count_if(all.begin(), all.end(), [](const ObjectInfo& info) { return info.kind != ObjectKind::poll_fifo; }));
    }
    const std::vector<Finding> findings = require(domain.fsck(options.repair, path), Doing::inspecting, global);
    const bool left = std::any_of(findings.begin(), findings.end(), [](const Finding& finding) { return !finding.repaired && !finding.harmless; });
    std::string text;
    if (global.json) {
        Json list = Json::array();
        for (const Finding& finding : findings) list.push_back(to_json(finding));
        text = dump(list);
    } else {
        for (const Finding& finding : findings) text += line_of(finding);
        text += summary_of(findings, checked, options, global);
    }
    print(text);
    return left ? kDamaged : kOk;
}

}  // namespace

void add_fsck(Registry& registry) {
    auto options = std::make_shared<Options>();
    CLI::App* command =
        registry.add("fsck", "Check objects, mend them, save what can be read",
                     "  muster fsck\n"
                     "  muster fsck sem:0x1234\n"
                     "  muster fsck --repair /jobs\n"
                     "  muster fsck --salvage saved/ /jobs                 (then: muster send /new --from-json --file saved/jobs.json)\n"
                     "  muster fsck --salvage - --geometry 10,8192 ./copy-of-a-queue\n"
                     "What follows from something else is made anew: a queue's lists and counts from its messages, lists of sleepers and\n"
                     "attachments from living processes, keys from the objects. Nothing that may hold data is removed. --salvage only reads,\n"
                     "also a file outside any domain. Ends with 0 if all is well, was mended or was saved, with 8 if damage is left.");
    command->add_option("name", options->name, "Only this object: /jobs, sem:0x1234, shm:id=5, sysv/msg-0 …; for --salvage also a path such as ./copy")->type_name("OBJECT");
    command->add_flag("--repair", options->repair, "Mend what can be mended");
    command->add_option("--salvage", options->salvage.out, "Write what can still be read there: a directory, a new file, - standard output")->type_name("OUT");
    command->add_option("--geometry", options->salvage.geometry, "Of a queue whose header is lost: its depth and message size")->type_name("MAXMSG,MSGSIZE");
    registry.actions.emplace_back(command, [options, &registry] { return fsck(*options, registry.global); });
}

}  // namespace muster::cli
