// muster ls: what is in a domain, one table for queues, one for semaphores, one for memory.
#include <fmt/format.h>
#include <algorithm>
#include <memory>
#include <tuple>
#include "command.hpp"
#include "kernel_objects.hpp"
#include "object_name.hpp"
#include "output.hpp"
#include "report.hpp"
#include "text.hpp"

namespace muster::cli {
namespace {

struct Options {
    bool details = false, all = false, kernel = false;
    std::vector<std::string> kinds;
};

struct Listed {
    ObjectInfo object;
    bool of_kernel = false;
};

enum class Group { queues, semaphores, memory, others };

Group group_of(const ObjectInfo& object) {
    switch (object.kind) {
        case ObjectKind::message_queue:
        case ObjectKind::typed_queue:
        case ObjectKind::poll_fifo:
            return Group::queues;
        case ObjectKind::semaphore_set:
        case ObjectKind::posix_semaphore:
            return Group::semaphores;
        case ObjectKind::segment:
        case ObjectKind::posix_shared_memory:
            return Group::memory;
        default:
            return object.name.rfind("sysv/", 0) == 0 ? Group::others : Group::queues;
    }
}

bool is_system_v(const ObjectInfo& object) {
    return object.id >= 0;
}

std::string values_text(const ObjectInfo& object) {
    constexpr std::size_t kShown = 8;
    if (object.values.empty()) return "-";
    std::string text;
    for (std::size_t i = 0; i < object.values.size() && i < kShown; ++i)
        text += fmt::format("{}{}", i == 0 ? "" : " ", object.values[i]);
    const std::size_t all = object.kind == ObjectKind::semaphore_set ? object.semaphores : 1;
    return all > kShown ? text + " …" : text;
}

std::string state_text(const ObjectInfo& object) {
    std::string text = object.removed_at_last_detach ? "removed" : "";
    if (object.locked) text += text.empty() ? "locked" : ",locked";
    return text.empty() ? "-" : text;
}

// A table under construction: heads once, then a cell for each in every row.
class Sheet {
public:
    Sheet(const std::vector<Listed>& objects, const Options& options) : details_(options.details), kernel_(options.kernel) {
        for (const Listed& one : objects) {
            problems_ = problems_ || !one.object.problem.empty();
            identifiers_ = identifiers_ || is_system_v(one.object);
        }
    }

    void begin(const Listed& listed) {
        const ObjectInfo& object = listed.object;
        row_.clear();
        cell("NAME", escaped(object.name));
        cell("KIND", std::string(to_string(object.kind)));
        if (kernel_) cell("WHERE", listed.of_kernel ? "kernel" : "muster");
        if (identifiers_) number("ID", is_system_v(object), static_cast<std::uint64_t>(object.id));
        cell("MODE", octal(object.mode));
        cell("OWNER", user_name(object.owner_uid));
        if (details_) cell("GROUP", group_name(object.owner_gid));
    }
    void cell(const char* head, std::string text, Table::Align align = Table::Align::left) {
        if (rows_.empty()) columns_.push_back({head, align});
        row_.push_back(std::move(text));
    }
    void number(const char* head, bool known, std::uint64_t value) {
        cell(head, known ? std::to_string(value) : "-", Table::Align::right);
    }
    void end(const ObjectInfo& object) {
        cell("CREATED", local_time(object.created));
        if (details_) cell("FILE", object.path.empty() ? "-" : escaped(object.path));
        if (problems_) cell("PROBLEM", escaped(object.problem));
        rows_.push_back(row_);
    }
    std::string text() const {
        Table table(columns_);
        for (const auto& row : rows_) table.add(row);
        return table.text();
    }

private:
    bool details_, kernel_, problems_ = false, identifiers_ = false;
    std::vector<Table::Column> columns_;
    std::vector<std::vector<std::string>> rows_;
    std::vector<std::string> row_;
};

std::string table_of(const std::vector<Listed>& objects, Group group, const Options& options) {
    Sheet sheet(objects, options);
    for (const Listed& listed : objects) {
        const ObjectInfo& object = listed.object;
        const bool good = object.problem.empty();
        sheet.begin(listed);
        if (group == Group::queues) {
            const bool queue = good && object.kind != ObjectKind::poll_fifo, posix = object.kind == ObjectKind::message_queue;
            sheet.number("MESSAGES", queue, object.messages);
            sheet.number("CAPACITY", queue && (posix || object.messages_max != 0), object.messages_max);
            sheet.number("SIZE", queue && posix, object.message_size_bytes_max);
            sheet.number("BYTES", true, object.bytes_allocated);
            sheet.cell("R/S WAITING",
                       queue && !listed.of_kernel ? fmt::format("{}/{}", object.receivers_waiting, object.senders_waiting) : "-",
                       Table::Align::right);
        } else if (group == Group::semaphores) {
            const bool set = good && object.kind == ObjectKind::semaphore_set;
            sheet.number("COUNT", good, set ? object.semaphores : 1);
            sheet.cell("VALUES", values_text(object));
            sheet.number("WAITING", set, object.waiting);
            sheet.number("BYTES", !listed.of_kernel, object.bytes_allocated);
        } else if (group == Group::memory) {
            sheet.number("SIZE", good, object.size_bytes);
            sheet.number("BYTES", true, object.bytes_allocated);
            sheet.number("ATTACHED", good && object.kind == ObjectKind::segment, object.attachments);
            sheet.cell("STATE", state_text(object));
        } else {
            sheet.number("BYTES", true, object.bytes_allocated);
        }
        sheet.end(object);
    }
    return sheet.text();
}

std::vector<Listed> gather(const Domain& domain, const Options& options, const Global& global) {
    std::vector<ObjectKind> kinds;
    for (const std::string& word : options.kinds) kinds.push_back(parse_kind("--kind", word));
    const auto wanted = [&](ObjectKind kind) {
        return kinds.empty() || std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
    };
    std::vector<Listed> all;
    std::vector<ObjectInfo> ours = require(domain.list(), Doing::inspecting, global);
    for (ObjectInfo& object : ours)
        // The descriptors behind poll() are no objects of the user's; broken ones are worth a look.
        if (options.all || object.kind != ObjectKind::poll_fifo || !object.problem.empty())
            all.push_back({std::move(object), false});
    if (options.kernel) {
        std::vector<KernelNote> notes;
        std::vector<ObjectInfo> theirs = kernel_objects(notes);
        for (ObjectInfo& object : theirs) all.push_back({std::move(object), true});
        for (const KernelNote& note : notes)
            if (wanted(note.kind)) complain(note.text);
    }
    std::erase_if(all, [&](const Listed& one) { return !wanted(one.object.kind); });
    const auto place = [](const Listed& one) {
        return std::make_tuple(group_of(one.object), one.object.kind, one.of_kernel, one.object.id, std::cref(one.object.name));
    };
    std::sort(all.begin(), all.end(), [&](const Listed& a, const Listed& b) { return place(a) < place(b); });
    return all;
}

int ls(const Options& options, const Global& global) {
    for (const std::string& word : options.kinds) parse_kind("--kind", word);  // before anything is made or opened
    const Domain domain = open_domain(global);
    const std::vector<Listed> all = gather(domain, options, global);
    if (global.json) {
        Json list = Json::array();
        for (const Listed& one : all) {
            Json json = to_json(one.object);
            if (options.kernel) json["where"] = one.of_kernel ? "kernel" : "muster";
            list.push_back(std::move(json));
        }
        print(dump(list));
        return kOk;
    }
    if (all.empty()) {
        if (options.kinds.empty() && !options.kernel)
            complain(fmt::format("nothing in {} yet; {} makes a queue", domain.path(), global.command("mk mq /NAME")));
        else
            complain(fmt::format("none in {}{}", domain.path(), options.kernel ? " nor in the kernel" : ""));
        return kOk;
    }
    std::string text;
    for (auto first = all.begin(); first != all.end();) {
        const Group group = group_of(first->object);
        const auto last = std::find_if(first, all.end(), [&](const Listed& one) { return group_of(one.object) != group; });
        text += (text.empty() ? "" : "\n") + table_of({first, last}, group, options);
        first = last;
    }
    print(text);
    return kOk;
}

}  // namespace

void add_ls(Registry& registry) {
    auto options = std::make_shared<Options>();
    CLI::App* command =
        registry.add("ls", "List the objects of a domain",
                     "  muster ls\n"
                     "  muster ls --kind sem --kind posix-sem\n"
                     "  muster ls --kernel --json\n"
                     "  muster --domain test ls --long\n"
                     "NAME is what other commands take. BYTES is the memory in use; R/S WAITING counts the receivers and\n"
                     "senders that wait, WAITING those who sleep at a semaphore set, ATTACHED the mappings of a segment.");
    command->add_option("--kind", options->kinds, "Only these: mq, msg, sem, shm, posix-shm, posix-sem")
        ->type_name("KIND")
        ->allow_extra_args(false);
    command->add_flag("--kernel", options->kernel, "Also the kernel's own objects, marked so");
    command->add_flag("--long", options->details, "More columns: group, file");
    command->add_flag("--all", options->all, "Also the FIFOs behind polled queues");
    registry.actions.emplace_back(command, [options, &registry] { return ls(*options, registry.global); });
}

}  // namespace muster::cli
