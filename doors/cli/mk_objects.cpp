#include "mk_objects.hpp"
#include <fmt/format.h>
#include <memory>
#include "muster/segment.hpp"
#include "muster/semaphore_set.hpp"
#include "object_name.hpp"
#include "output.hpp"
#include "queue_options.hpp"
#include "report.hpp"
#include "semaphore_values.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    ObjectKind kind;
    std::string name;  // a key or a POSIX name
    std::string values, count, size, mode;
    bool exist_ok = false, no_reserve = false;

    std::uint32_t mode_or_default() const { return mode.empty() ? 0600 : parse_mode("--mode", mode); }
};

// What was made, or was there already. The name is printed where it was not the user who gave it.
int tell(const Options& options, const std::string& name, std::int32_t id, bool made, const Domain& domain,
         const Global& global) {
    if (global.json) {
        Json json{{"name", name}, {"kind", to_string(options.kind)}, {"made", made}, {"domain", domain.path()}};
        if (id >= 0) json["id"] = id;
        print(dump(json));
    } else if (id >= 0 && options.name.empty()) {
        print(name + "\n");
    }
    return kOk;
}

int make_set(const Options& options, const Global& global) {
    const auto key = parse_key(options.kind, options.name);
    const std::vector<std::uint16_t> values = parse_values(options.values, options.count);
    const SemaphoreSetOptions wanted{options.mode_or_default()};
    const Domain domain = open_domain(global);
    auto set = SemaphoreSet::create(domain, key ? Key(*key) : Key::none(), values, wanted);
    const bool existed = !set && set.error() == EEXIST && options.exist_ok;
    if (existed) set = SemaphoreSet::open(domain, Key(*key));
    if (!set) throw explain(set.error(), Doing::making, global);
    if (existed && set->size() != values.size())
        complain(fmt::format("{}: exists with {}; left as it is", set->name(), counted(set->size(), "semaphore")));
    return tell(options, set->name(), set->identifier(), !existed, domain, global);
}

int make_segment(const Options& options, const Global& global) {
    const auto key = parse_key(options.kind, options.name);
    const std::uint64_t size = parse_size("--size", options.size);
    if (size == 0) fail(kUsage, "--size: at least 1 byte");
    const SegmentOptions wanted{options.mode_or_default(), !options.no_reserve};
    const Domain domain = open_domain(global);
    auto segment = Segment::create(domain, key ? Key(*key) : Key::none(), size, wanted);
    const bool existed = !segment && segment.error() == EEXIST && options.exist_ok;
    if (existed) segment = Segment::open(domain, Key(*key));
    if (!segment) throw explain(segment.error(), Doing::making, global);
    if (existed && segment->size_bytes() != size)
        complain(fmt::format("{}: exists with {}; left as it is", segment->name(), counted(segment->size_bytes(), "byte")));
    return tell(options, segment->name(), segment->identifier(), !existed, domain, global);
}

// "/cache" or "posix-shm:/cache".
ObjectName posix_name(const Options& options) {
    const std::string prefix = fmt::format("{}:", to_string(options.kind));
    return parse_object_name(options.name.rfind(prefix, 0) == 0 ? options.name : prefix + options.name);
}

int make_posix(const Options& options, const Global& global) {
    const ObjectName object = posix_name(options);
    const bool semaphore = options.kind == ObjectKind::posix_semaphore;
    const std::uint64_t size = semaphore ? 0 : parse_size("--size", options.size);
    const std::uint64_t value = semaphore ? parse_count("--value", options.values, 0, INT32_MAX) : 0;
    const std::uint32_t mode = options.mode_or_default();
    const Domain domain = open_domain(global);
    const auto made = semaphore ? domain.create_named_semaphore(object.name, static_cast<std::uint32_t>(value), mode)
                                : domain.create_shared_memory(object.name, size, mode);
    const bool existed = !made && made.error() == EEXIST && options.exist_ok;
    if (!made && !existed) throw explain(made.error(), Doing::making, global);
    return tell(options, object.text, -1, !existed, domain, global);
}

int make_message_queue(const Options& options, const Global& global) {
    const auto key = parse_key(options.kind, options.name);
    QueueShape wanted;
    wanted.mode = options.mode;
    wanted.bytes = options.size;
    const TypedQueueShape shape = wanted.typed();
    const Domain domain = open_domain(global);
    auto [queue, made] = make_typed_queue(domain, key ? Key(*key) : Key::none(), shape, options.exist_ok && key, global);
    if (const auto info = domain.find(options.kind, queue.identifier());
        !made && shape.bytes_max != 0 && info && info->bytes_max != shape.bytes_max)
        complain(fmt::format("{}: exists with --bytes {}; left as it is", queue.name(), info->bytes_max));
    return tell(options, queue.name(), queue.identifier(), made, domain, global);
}

CLI::App* add_kind(CLI::App& mk, Options& options, const std::string& about, const std::string& examples) {
    CLI::App* command = mk.add_subcommand(std::string(to_string(options.kind)), about);
    command->group("Kinds")->footer("Examples:\n" + examples);
    command->fallthrough();
    const bool system_v = options.kind != ObjectKind::posix_shared_memory && options.kind != ObjectKind::posix_semaphore;
    if (system_v)
        command
            ->add_option("key", options.name,
                         "A key such as 0x1234; without one the object is found by its identifier, which is printed")
            ->type_name("KEY");
    else
        command->add_option("name", options.name, "One slash, then up to 255 bytes")->required()->type_name("/NAME");
    command->add_option("--mode", options.mode, "Permission bits, octal (default 0600)")->type_name("OCTAL");
    command->add_flag("--exist-ok", options.exist_ok, "Be content if there is one already");
    return command;
}

template <class Make>
void act(Registry& registry, CLI::App* command, const std::shared_ptr<Options>& options, Make make) {
    registry.actions.emplace_back(command, [options, make, &registry] { return make(*options, registry.global); });
}

std::shared_ptr<Options> options_of(ObjectKind kind) {
    auto options = std::make_shared<Options>();
    options->kind = kind;
    return options;
}

}  // namespace

void add_mk_objects(Registry& registry, CLI::App& mk) {
    auto set = options_of(ObjectKind::semaphore_set);
    CLI::App* sem = add_kind(mk, *set, "Make a semaphore set",
                             "  muster mk sem 0x1234 --values 1\n"
                             "  muster mk sem --values 4,0,0\n"
                             "  muster mk sem 0x1234 --values 1 --count 16      (16 semaphores of value 1)");
    sem->add_option("--values", set->values, "The first value of each semaphore, 0 to 32767")->required()->type_name("N,N,...");
    sem->add_option("--count", set->count, "So many semaphores of one value")->type_name("N");
    act(registry, sem, set, make_set);

    auto segment = options_of(ObjectKind::segment);
    CLI::App* shm = add_kind(mk, *segment, "Make a shared memory segment",
                             "  muster mk shm 0x1234 --size 1Mi\n  muster mk shm --size 4096 --mode 0660");
    shm->add_option("--size", segment->size, "How many bytes: 8192, 64Ki, 1M")->required()->type_name("SIZE");
    shm->add_flag("--no-reserve", segment->no_reserve,
                  "Take memory only when it is touched; a full file system then kills who touches it");
    act(registry, shm, segment, make_segment);

    auto queue = options_of(ObjectKind::typed_queue);
    CLI::App* msg =
        add_kind(mk, *queue, "Make a System V message queue", "  muster mk msg 0x1234\n  muster mk msg --bytes 64Ki --mode 0660");
    msg->add_option("--bytes", queue->size, "How many bytes, and messages, it holds (default 16Ki)")->type_name("SIZE");
    act(registry, msg, queue, make_message_queue);

    auto memory = options_of(ObjectKind::posix_shared_memory);
    CLI::App* posix_shm =
        add_kind(mk, *memory, "Make POSIX shared memory, as shm_open does", "  muster mk posix-shm /cache --size 1Mi");
    posix_shm->add_option("--size", memory->size, "How many bytes: 8192, 64Ki, 1M")->required()->type_name("SIZE");
    act(registry, posix_shm, memory, make_posix);

    auto semaphore = options_of(ObjectKind::posix_semaphore);
    CLI::App* posix_sem =
        add_kind(mk, *semaphore, "Make a POSIX named semaphore, as sem_open does", "  muster mk posix-sem /lock --value 1");
    posix_sem->add_option("--value", semaphore->values, "Its first value, 0 to 2147483647")->required()->type_name("N");
    act(registry, posix_sem, semaphore, make_posix);
}

}  // namespace muster::cli
