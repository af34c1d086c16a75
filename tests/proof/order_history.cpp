#include "tests/proof/order_history.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>

namespace muster::test::order {
namespace {

__attribute__((format(printf, 2, 3))) void append(std::string& text, const char* format, ...) {
    char piece[256];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    text += piece;
}

std::string call_of_queue(Object object, const Operation& o) {
    std::string text;
    const char* kind = object == Object::priority_queue ? "priority" : "type";
    const char* manner = o.waits ? "" : ", no wait";
    if (o.call == Call::send) {
        append(text, "send(message %d, %s %d, %d bytes%s)", o.number, kind, o.selector, o.size, manner);
    } else if (o.call == Call::receive || o.call == Call::copy) {
        const char* cut = o.truncate ? ", may be cut" : "";
        if (o.call == Call::copy)
            append(text, "copy(index %d, room %d%s)", o.selector, o.size, cut);
        else if (object == Object::priority_queue)
            append(text, "receive(room %d%s)", o.size, manner);
        else
            append(text, "receive(%s%d, room %d%s%s)", o.except ? "all but " : "", o.selector, o.size, cut, manner);
        if (!o.pending() && o.error == 0)
            append(text, " = message %d, %s %d, %d bytes", o.result[0], kind, o.result[1], o.result[2]);
    } else {
        append(text, "count");
        if (!o.pending() && o.error == 0) append(text, " = %d messages, %d bytes", o.result[0], o.result[1]);
    }
    return text;
}

std::string call_of_semaphores(const Operation& o) {
    std::string text;
    switch (o.call) {
        case Call::operate:
            text = "semop(";
            for (int i = 0; i < o.step_count; ++i) {
                const SemaphoreStep& step = o.steps[i];
                append(text, "%s#%d %+d%s%s", i > 0 ? ", " : "", step.number, step.amount, step.waits ? "" : " no wait",
                       step.undo ? " undo" : "");
            }
            return text + ")";
        case Call::set:
            append(text, "set(#%d to %d)", o.number, o.selector);
            return text;
        case Call::set_all:
            append(text, "set_all(%d %d %d)", o.steps[0].amount, o.steps[1].amount, o.steps[2].amount);
            return text;
        case Call::get:
            append(text, "get(#%d) = %d", o.number, o.result[0]);
            return text;
        default:
            append(text, "get_all = %d %d %d", o.result[0], o.result[1], o.result[2]);
            return text;
    }
}

const char* name_of(Call call) {
    static const char* const names[] = {"send", "receive", "copy",     "count",  "semop",  "set",    "set_all",
                                        "get",  "get_all", "attach",   "detach", "remove", "create", "open or create",
                                        "open", "death",   "give back"};
    return names[static_cast<int>(call)];
}

}  // namespace

const char* name_of(Object object) {
    static const char* const names[] = {"priority_queue", "typed_queue", "semaphores",    "segment",
                                        "queue_name",     "message_key", "semaphore_key", "segment_key"};
    return names[static_cast<int>(object)];
}

std::uint64_t History::end() const {
    std::uint64_t latest = 0;
    for (const Operation& o : operations) latest = std::max({latest, o.invoked, o.returned});
    return latest + 1;
}

std::string describe(Object object, const Operation& o) {
    std::string text;
    if (o.call == Call::death) return "killed; waited for";
    if (o.call == Call::give_back) return "what it had taken comes back";
    if (object == Object::priority_queue || object == Object::typed_queue)
        text = call_of_queue(object, o);
    else if (object == Object::semaphores)
        text = call_of_semaphores(o);
    else {
        append(text, "%s(%d)", name_of(o.call), o.number);
        if (!o.pending() && o.error == 0) append(text, " = %d", o.result[0]);
    }
    if (o.pending())
        text += " -> never returned";
    else if (o.error != 0)
        append(text, " -> %s", strerrorname_np(o.error) != nullptr ? strerrorname_np(o.error) : "error without a name");
    return text;
}

std::string describe(const History& history, const std::vector<int>& placed) {
    const Setup& setup = history.setup;
    std::string text;
    append(text, "%s of %s, capacity %d, values %d %d %d at first\n", name_of(setup.object),
           setup.kernel ? "the kernel" : "Muster", setup.capacity, setup.values[0], setup.values[1], setup.values[2]);
    std::map<int, std::vector<int>> by_process;
    for (int i = 0; i < static_cast<int>(history.operations.size()); ++i)
        by_process[history.operations[static_cast<std::size_t>(i)].process].push_back(i);
    for (auto& [process, indexes] : by_process) {
        append(text, process == kDrainer ? "  the helper:\n" : "  process %d:\n", process);
        for (const int index : indexes) {
            const Operation& o = history.operations[static_cast<std::size_t>(index)];
            const auto place = std::find(placed.begin(), placed.end(), index);
            if (place != placed.end())
                append(text, "    (%2d)", static_cast<int>(place - placed.begin()) + 1);
            else
                text += "    (--)";
            if (o.pending())
                append(text, " %5llu ...         ", static_cast<unsigned long long>(o.invoked));
            else
                append(text, " %5llu ... %5llu   ", static_cast<unsigned long long>(o.invoked),
                       static_cast<unsigned long long>(o.returned));
            text += describe(setup.object, o) + "\n";
        }
    }
    append(text, "  (N): the place in the longest order that fits the model; (--): could not be placed behind it.\n");
    append(text,
           "  Again: MUSTER_PROOF_SEED=%llu MUSTER_PROOF_ORDER_ROUND=%llu does the same calls in every round; how they meet is "
           "the scheduler's.\n",
           static_cast<unsigned long long>(setup.seed), static_cast<unsigned long long>(setup.round));
    return text;
}

}  // namespace muster::test::order
