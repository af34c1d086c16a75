// muster sem: operations on semaphores.
#include <fmt/format.h>
#include <memory>
#include <numeric>
#include "attendant.hpp"
#include "command.hpp"
#include "facts.hpp"
#include "muster/semaphore_set.hpp"
#include "named_semaphore.hpp"
#include "object_name.hpp"
#include "output.hpp"
#include "program.hpp"
#include "semaphore_values.hpp"
#include "units.hpp"

namespace muster::cli {
namespace {

struct Options {
    std::string object, number, amount, timeout, value, values;
    std::vector<std::string> command;  // for the help text; main() has cut the real one off
    bool no_wait = false;

    std::uint16_t number_or_first() const {
        return number.empty() ? std::uint16_t{0} : static_cast<std::uint16_t>(parse_count("--number", number, 0, 65535));
    }
    std::uint16_t amount_or_one() const {
        return amount.empty() ? std::uint16_t{1} : static_cast<std::uint16_t>(parse_count("--amount", amount, 1, 32767));
    }
    Deadline deadline() const {
        if (no_wait) return Deadline::now();
        return timeout.empty() ? Deadline::never() : Deadline::after(parse_duration("--timeout", timeout));
    }
};

// The set, or a POSIX semaphore; others are refused.
ObjectName semaphore_name(const Options& options, bool posix_too) {
    ObjectName object = parse_object_name(options.object);
    if (object.kind == ObjectKind::semaphore_set || (posix_too && object.kind == ObjectKind::posix_semaphore)) return object;
    fail(kUsage, fmt::format("{}: is no semaphore{}; name one such as sem:0x1234 or sem:id=5{}", object.text,
                             object.kind == ObjectKind::posix_semaphore ? " set, which this needs" : "",
                             posix_too ? ", or posix-sem:/lock" : ""));
}

SemaphoreSet open_set(const Domain& domain, const ObjectName& object, const Global& global) {
    return require(object.key ? SemaphoreSet::open(domain, Key(*object.key)) : SemaphoreSet::open(domain, *object.id),
                   Doing::opening, global);
}

void check_number(const SemaphoreSet& set, std::uint16_t number) {
    if (number >= set.size())
        fail(kUsage, fmt::format("--number: {} has {}, counted from 0", set.name(), counted(set.size(), "semaphore")));
}

int show(const Options& options, const Global& global) {
    const ObjectName object = semaphore_name(options, true);
    const Domain domain = open_domain(global);
    const Facts facts = gather_facts(domain, find_object(domain, object, global), global);
    print(global.json ? dump(Json::array({json_of(facts)})) : text_of(facts));
    return facts.object.problem.empty() ? kOk : kDamaged;
}

int tell_value(const SemaphoreSet& set, std::uint16_t number, const Global& global) {
    if (!global.json) return kOk;
    const auto value = set.value(number);
    print(dump({{"name", set.name()}, {"semaphore", number}, {"value", value ? Json(*value) : Json(nullptr)}}));
    return kOk;
}

enum class Verb { post, wait, zero_wait };

std::string wanted(std::uint16_t amount) {
    return amount == 1 ? "and 1 is wanted" : fmt::format("and {} are wanted", amount);
}

// Why it went no further: the value that is there beside the one that is wanted.
Failure explain_refusal(const Error& error, const SemaphoreSet& set, std::uint16_t number, std::string_view reason,
                        const Global& global) {
    Failure failure = explain(error, Doing::operating, global);
    const auto value = set.value(number);
    if (value && (error == EAGAIN || error == ETIMEDOUT))
        failure.text = fmt::format("{}: {}semaphore {} is {}{}, {}{}", set.name(), error == ETIMEDOUT ? "timed out; " : "",
                                   number, error == ETIMEDOUT ? "still " : "", *value, reason,
                                   error == EAGAIN ? "; without --no-wait it waits" : "");
    return failure;
}

int operate(Verb verb, const Options& options, const Global& global) {
    const ObjectName object = semaphore_name(options, verb != Verb::zero_wait);
    const std::uint16_t number = options.number_or_first(), amount = options.amount_or_one();
    const Deadline deadline = options.deadline();
    const Domain domain = open_domain(global);
    if (object.kind == ObjectKind::posix_semaphore) {
        if (!options.number.empty()) fail(kUsage, fmt::format("--number: {} is a single semaphore", object.text));
        const NamedSemaphore semaphore(find_object(domain, object, global), global);
        if (verb == Verb::post)
            semaphore.post(amount, global);
        else
            semaphore.wait(amount, deadline, global);
        return kOk;
    }
    SemaphoreSet set = open_set(domain, object, global);
    check_number(set, number);
    const auto done = verb == Verb::post   ? set.post(number, amount)
                      : verb == Verb::wait ? set.wait(number, amount, deadline)
                                           : set.wait_zero(number, deadline);
    if (!done) throw explain_refusal(done.error(), set, number, verb == Verb::zero_wait ? "not 0" : wanted(amount), global);
    return tell_value(set, number, global);
}

int set_values(const Options& options, const Global& global) {
    const ObjectName object = semaphore_name(options, false);
    if (options.value.empty() == options.values.empty())
        fail(kUsage, "sem set: give --value N for one semaphore, or --values N,N,... for all");
    if (!options.values.empty() && !options.number.empty()) fail(kUsage, "sem set: --values sets all; leave --number away");
    const std::uint16_t number = options.number_or_first();
    const std::vector<std::uint16_t> values = parse_values(options.value.empty() ? options.values : options.value, "");
    if (!options.value.empty() && values.size() != 1) fail(kUsage, "--value: one number; --values sets all");
    const Domain domain = open_domain(global);
    SemaphoreSet set = open_set(domain, object, global);
    check_number(set, number);
    if (!options.values.empty() && values.size() != set.size())
        fail(kUsage, fmt::format("--values: {} has {}, not {}", set.name(), counted(set.size(), "semaphore"), values.size()));
    require(options.values.empty() ? set.set(number, values.front()) : set.set_all(values), Doing::operating, global);
    return tell_value(set, number, global);
}

int hold(const Options& options, const std::vector<std::string>& command, const Global& global) {
    const ObjectName object = semaphore_name(options, false);
    if (command.empty() && !options.command.empty())
        fail(kUsage, fmt::format("sem hold: write -- before the command: `muster sem hold {} -- {} …`", options.object,
                                 options.command.front()));
    if (command.empty()) fail(kUsage, "sem hold: which command? `muster sem hold sem:0x1234 -- COMMAND …`");
    const std::uint16_t number = options.number_or_first(), amount = options.amount_or_one();
    const Deadline deadline = options.deadline();
    const Program program{find_program(command[0]), command};
    const Domain domain = open_domain(global);
    SemaphoreSet set = open_set(domain, object, global);
    check_number(set, number);
    auto held = set.hold(number, amount, deadline);
    if (!held) throw explain_refusal(held.error(), set, number, wanted(amount), global);
    Attendant attendant;
    const int code = attendant.run(program, true);
    if (const auto released = held->release(); !released) complain(explain(released.error(), Doing::operating, global).text);
    return code;
}

CLI::App* add_verb(CLI::App& sem, const std::string& name, const std::string& about, const std::string& examples,
                   Options& options) {
    CLI::App* verb = sem.add_subcommand(name, about);
    verb->group("Operations")->footer("Examples:\n" + examples);
    verb->fallthrough();
    verb->add_option("object", options.object, "The semaphore set: sem:0x1234 or sem:id=5")->required()->type_name("OBJECT");
    return verb;
}

void add_numbers(CLI::App& verb, Options& options, bool with_amount) {
    verb.add_option("--number", options.number, "Which semaphore of the set, from 0 (default 0)")->type_name("N");
    if (with_amount) verb.add_option("--amount", options.amount, "How much (default 1)")->type_name("N");
}

void add_patience(CLI::App& verb, Options& options) {
    auto* timeout =
        verb.add_option("--timeout", options.timeout, "Give up after this time: 250ms, 1.5s, 2m")->type_name("DURATION");
    verb.add_flag("--no-wait", options.no_wait, "Do not wait at all")->excludes(timeout);
}

}  // namespace

void add_sem(Registry& registry, const std::vector<std::string>& program) {
    CLI::App* sem = registry.add("sem", "Operate on semaphores",
                                 "  muster sem hold sem:0x1234 -- make install      (a lock around a command)\n"
                                 "  muster sem post sem:0x1234 --number 2 --amount 5\n"
                                 "  muster sem wait sem:id=5 --timeout 10s\n"
                                 "  muster sem show sem:0x1234");
    sem->require_subcommand(1);
    auto options = std::make_shared<Options>();
    const auto& global = registry.global;

    CLI::App* verb =
        add_verb(*sem, "show", "Tell values, holders and waiters, as stat does", "  muster sem show sem:0x1234", *options);
    registry.actions.emplace_back(verb, [options, &global] { return show(*options, global); });

    verb =
        add_verb(*sem, "post", "Add to a semaphore", "  muster sem post sem:0x1234\n  muster sem post posix-sem:/lock", *options);
    add_numbers(*verb, *options, true);
    registry.actions.emplace_back(verb, [options, &global] { return operate(Verb::post, *options, global); });

    verb = add_verb(*sem, "wait", "Take from a semaphore, waiting until it is high enough",
                    "  muster sem wait sem:0x1234 --amount 2 --timeout 1s\n"
                    "What is taken stays taken when the command ends; `muster sem hold` gives it back.",
                    *options);
    add_numbers(*verb, *options, true);
    add_patience(*verb, *options);
    registry.actions.emplace_back(verb, [options, &global] { return operate(Verb::wait, *options, global); });

    verb = add_verb(*sem, "zero-wait", "Wait until a semaphore is 0", "  muster sem zero-wait sem:0x1234 --number 1", *options);
    add_numbers(*verb, *options, false);
    add_patience(*verb, *options);
    registry.actions.emplace_back(verb, [options, &global] { return operate(Verb::zero_wait, *options, global); });

    verb = add_verb(*sem, "set", "Set the value of a semaphore, or of all",
                    "  muster sem set sem:0x1234 --number 1 --value 4\n  muster sem set sem:0x1234 --values 1,4,0\n"
                    "What processes hold with undo is forgotten; whoever can go on then does.",
                    *options);
    add_numbers(*verb, *options, false);
    verb->add_option("--value", options->value, "The new value, 0 to 32767")->type_name("N");
    verb->add_option("--values", options->values, "One for each semaphore of the set")->type_name("N,N,...");
    registry.actions.emplace_back(verb, [options, &global] { return set_values(*options, global); });

    verb =
        add_verb(*sem, "hold", "Hold a semaphore while a command runs",
                 "  muster sem hold sem:0x1234 -- make install\n"
                 "  muster sem hold sem:0x1234 --no-wait -- ./nightly || echo 'runs already'\n"
                 "Takes from the semaphore with undo, runs the command and gives back when it ends, however it ends. Should\n"
                 "muster be killed, the command is killed with it. Ends with the command's exit code; 3: --no-wait and it would\n"
                 "have to wait, 4: timed out, 127: no such command, 128+N: killed by signal N.",
                 *options);
    verb->add_option("command", options->command, "What to run; all behind the -- is the command's, not muster's")
        ->type_name("-- COMMAND [ARGUMENT...]");
    add_numbers(*verb, *options, true);
    add_patience(*verb, *options);
    registry.actions.emplace_back(verb, [options, program, &global] { return hold(*options, program, global); });
}

}  // namespace muster::cli
