// muster mk: makes objects. One sub-command a kind.
#include <fmt/format.h>
#include <memory>
#include "command.hpp"
#include "mk_objects.hpp"
#include "output.hpp"
#include "queue_options.hpp"
#include "report.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string name;
    QueueShape shape;
    bool exist_ok = false;
};

void note_difference(const MessageQueue& queue, const QueueOptions& wanted, const Options& options, const Global& global) {
    const QueueStatus status = require(queue.status(), Doing::inspecting, global);
    if (!options.shape.depth.empty() && status.messages_max != wanted.messages_max)
        complain(fmt::format("{}: exists with --depth {}; left as it is", options.name, status.messages_max));
    if (!options.shape.message_size.empty() && status.message_size_bytes_max != wanted.message_size_bytes_max)
        complain(fmt::format("{}: exists with --message-size {}; left as it is", options.name, status.message_size_bytes_max));
}

int make_queue(const Options& options, const Global& global) {
    check_queue_name(options.name);
    const Domain domain = open_domain(global);
    const QueueOptions wanted = options.shape.resolve(domain, global);
    auto queue = MessageQueue::create(domain, options.name, wanted);
    const bool existed = !queue && queue.error() == EEXIST && options.exist_ok;
    if (existed) queue = MessageQueue::open(domain, options.name);
    if (!queue) throw explain(queue.error(), Doing::making, global);
    if (existed) note_difference(*queue, wanted, options, global);
    if (global.json) {
        const QueueStatus status = require(queue->status(), Doing::inspecting, global);
        print(dump({{"name", options.name},
                    {"kind", "mq"},
                    {"made", !existed},
                    {"mode", octal(status.mode)},
                    {"messages_max", status.messages_max},
                    {"message_size_bytes_max", status.message_size_bytes_max},
                    {"domain", domain.path()}}));
    }
    return kOk;
}

}  // namespace

void add_mk(Registry& registry) {
    CLI::App* mk = registry.add("mk", "Make an object",
                                "  muster mk mq /jobs --depth 1000 --message-size 64Ki\n"
                                "  muster mk sem 0x1234 --values 1            (a lock: one semaphore of value 1)\n"
                                "  muster mk shm 0x1234 --size 1Mi\n"
                                "  muster mk posix-shm /cache --size 1Mi\n"
                                "Without a key, mk sem, mk shm and mk msg print how to name the new object, such as sem:id=5.");
    mk->require_subcommand(1);
    auto options = std::make_shared<Options>();
    CLI::App* mq = mk->add_subcommand("mq", "Make a POSIX message queue")->group("Kinds");
    mq->footer(
        "Examples:\n"
        "  muster mk mq /jobs\n"
        "  muster mk mq /jobs --depth 1000 --message-size 64Ki --mode 0660\n"
        "  muster mk mq /jobs --exist-ok");
    mq->fallthrough();
    mq->add_option("name", options->name, "The queue: one slash, then up to 255 bytes")->required()->type_name("/NAME");
    options->shape.declare(*mq);
    mq->add_flag("--exist-ok", options->exist_ok, "Be content if there is one already");
    registry.actions.emplace_back(mq, [options, &registry] { return make_queue(*options, registry.global); });
    add_mk_objects(registry, *mk);
}

}  // namespace muster::cli
