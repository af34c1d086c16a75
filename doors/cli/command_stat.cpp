// muster stat: everything about single objects.
#include <fmt/format.h>
#include <memory>
#include "command.hpp"
#include "facts.hpp"
#include "object_name.hpp"
#include "output.hpp"
#include "report.hpp"

namespace muster::cli {
namespace {

int stat(const std::vector<std::string>& names, const Global& global) {
    std::vector<ObjectName> objects;
    for (const std::string& name : names) objects.push_back(parse_object_name(name));
    const Domain domain = open_domain(global);
    Listing listing(domain, global);
    int code = kOk;
    Json list = Json::array();
    std::string text;
    for (const ObjectName& object : objects) {
        try {
            const Facts facts = gather_facts(domain, listing.find(object), global);
            if (global.json)
                list.push_back(json_of(facts));
            else
                text += (text.empty() ? "" : "\n") + text_of(facts);
            if (!facts.object.problem.empty()) code = kDamaged;
        } catch (const Failure& failure) {  // the others are shown all the same
            complain(failure.text);
            code = failure.exit_code;
        }
    }
    print(global.json ? dump(list) : text);
    return code;
}

}  // namespace

void add_stat(Registry& registry) {
    auto names = std::make_shared<std::vector<std::string>>();
    CLI::App* command = registry.add("stat", "Tell everything about objects: who holds, who waits, for what and since when",
                                     "  muster stat /jobs\n"
                                     "  muster stat sem:0x1234 shm:id=5 posix-shm:/cache\n"
                                     "  muster stat /jobs /results --json");
    command->add_option("name", *names, "The objects: /jobs, sem:0x1234, shm:id=5 …")->required()->type_name("OBJECT");
    registry.actions.emplace_back(command, [names, &registry] { return stat(*names, registry.global); });
}

}  // namespace muster::cli
