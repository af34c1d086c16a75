#include "failure.hpp"
#include <fmt/format.h>
#include "object_name.hpp"

namespace muster::cli {

void fail(int exit_code, std::string text) {
    throw Failure{exit_code, std::move(text)};
}

int exit_code_of(int errno_value) {
    switch (errno_value) {
        case 0:
            return kOk;
        case EAGAIN:
            return kWouldBlock;
        case ETIMEDOUT:
            return kTimedOut;
        case ENOENT:
            return kMissing;
        case EEXIST:
            return kExists;
        case EACCES:
        case EPERM:
            return kForbidden;
        case EBADMSG:
            return kDamaged;
        default:
            return kError;
    }
}

std::string Global::command(std::string_view rest) const {
    if (domain.empty()) return fmt::format("`muster {}`", rest);
    return fmt::format("`muster --domain {} {}`", domain, rest);
}

namespace {

// The library's hint says which rule was broken; ours says what to type. Its word goes first.
std::string with_hint(const Error& error, std::string_view reason, std::string_view advice) {
    std::string text = error.object().empty() ? std::string() : error.object() + ": ";
    text += reason;
    if (!error.hint().empty()) text += ": " + error.hint();
    if (!advice.empty()) text += fmt::format("; {}", advice);
    return text;
}

}  // namespace

namespace {

// How to make the object, where a name is enough for that.
std::string making_of(const std::string& object, const Global& global) {
    const std::size_t colon = object.find(':');
    if (!object.empty() && object.front() == '/') return global.command("mk mq " + object);
    if (colon == object.npos || object.compare(colon + 1, 3, "id=") == 0) return "";
    return global.command(fmt::format("mk {} {} …", object.substr(0, colon), object.substr(colon + 1)));
}

Failure explain_waiting(const Error& error, Doing doing, int code) {
    const bool late = error == ETIMEDOUT;
    if (doing == Doing::operating)
        return {code, fmt::format("{}: {}", error.object(),
                                  late ? "timed out; the semaphores still do not allow it"
                                       : "the semaphores do not allow it now; without --no-wait it waits")};
    if (late)
        return {code, fmt::format("{}: timed out; it was still {}", error.object(), doing == Doing::sending ? "full" : "empty")};
    return {code, fmt::format("{}: {}", error.object(),
                              doing == Doing::sending ? "full; without --no-wait it waits for space" : "empty")};
}

}  // namespace

Failure explain(const Error& error, Doing doing, const Global& global) {
    const int code = exit_code_of(error.errno_value());
    const std::string& object = error.object();
    const std::string_view noun = noun_of(object);
    const bool known = noun != noun_of(ObjectKind::unknown) && doing != Doing::opening_domain;
    switch (error.errno_value()) {
        case ENOENT: {
            if (!known) break;
            // The hint would repeat what this says.
            const std::string made = doing == Doing::removing ? "" : making_of(object, global);
            return {code, fmt::format("{}: no such {}; {} shows what is there{}", object, noun, global.command("ls"),
                                      made.empty() ? "" : fmt::format(", {} makes it", made))};
        }
        case EEXIST:
            if (!known) break;
            return {code, fmt::format("{}: exists already; --exist-ok accepts that, {} removes it", object,
                                      global.command("rm " + object))};
        case EAGAIN:
        case ETIMEDOUT:
            return explain_waiting(error, doing, code);
        case EIDRM:
            return {code, fmt::format("{}: removed meanwhile; {} shows what is there", object, global.command("ls"))};
        case EACCES:
        case EPERM:
            if (known && doing == Doing::removing && object.front() != '/')
                return {code, fmt::format("{}: no permission to remove it; its owner, its creator and root may", object)};
            if (known && doing == Doing::removing)
                return {code, with_hint(error, "no permission to remove it", "its owner and the domain's may")};
            if (known) return {code, with_hint(error, "no permission", global.command("ls") + " shows owner and mode")};
            return {code, with_hint(error, "no permission", "")};
        case EBADMSG:
            return {code, with_hint(error, "damaged",
                                    known ? fmt::format("{} tells more, {} removes it", global.command("fsck"),
                                                        global.command("rm " + object))
                                          : std::string())};
        case EMFILE:
        case ENFILE:
            return {code, with_hint(error, "too many open files", "see `ulimit -n`")};
        case EINTR:
            return {code, with_hint(error, "interrupted by a signal", "")};
        case ENOTSUP:
            return {code, with_hint(error, "not possible", "")};
        default:
            break;
    }
    return {code, with_hint(error, error.code().message(), "")};
}

}  // namespace muster::cli
