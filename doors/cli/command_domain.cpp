// muster domain: which directory holds the objects.
#include <fmt/format.h>
#include <memory>
#include "command.hpp"
#include "ephemeral.hpp"
#include "output.hpp"
#include "report.hpp"

namespace muster::cli {

void add_domain(Registry& registry) {
    auto remove = std::make_shared<bool>(false);
    CLI::App* command = registry.add("domain", "Print the directory of the domain in use",
                                     "  muster domain\n"
                                     "  muster --domain test domain --remove");
    command->add_flag("--remove", *remove, "Remove the domain and every object in it");
    registry.actions.emplace_back(command, [remove, &registry] {
        const Domain domain = open_domain(registry.global);
        if (*remove) {
            // An accident with everybody's objects is one forgotten option away.
            if (registry.global.domain.empty()) fail(kUsage, "domain: --remove wants the domain to be named with --domain");
            require(remove_ephemeral(domain), Doing::removing, registry.global);
            return static_cast<int>(kOk);
        }
        print(registry.global.json ? dump({{"path", domain.path()}}) : domain.path() + "\n");
        return static_cast<int>(kOk);
    });
}

}  // namespace muster::cli
