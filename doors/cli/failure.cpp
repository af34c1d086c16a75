#include "failure.hpp"
#include <fmt/format.h>

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

Failure explain(const Error& error, Doing doing, const Global& global) {
    const int code = exit_code_of(error.errno_value());
    const std::string& object = error.object();
    const bool queue = !object.empty() && object.front() == '/' && doing != Doing::opening_domain;
    switch (error.errno_value()) {
        case ENOENT:
            if (!queue) break;
            // The hint would repeat what this says.
            if (doing == Doing::removing)
                return {code, fmt::format("{}: no such queue; {} shows what is there", object, global.command("ls"))};
            return {code, fmt::format("{}: no such queue; {} shows what is there, {} makes it", object, global.command("ls"),
                                      global.command("mk mq " + object))};
        case EEXIST:
            if (!queue) break;
            return {code, fmt::format("{}: exists already; --exist-ok accepts that, {} removes it", object,
                                      global.command("rm " + object))};
        case EAGAIN:
            return {code, fmt::format("{}: {}", object,
                                      doing == Doing::sending ? "full; without --no-wait it waits for space" : "empty")};
        case ETIMEDOUT:
            return {code, fmt::format("{}: timed out; it was still {}", object, doing == Doing::sending ? "full" : "empty")};
        case EACCES:
        case EPERM:
            if (queue && doing == Doing::removing)
                return {code, with_hint(error, "no permission to remove it", "its owner and the domain's may")};
            if (queue) return {code, with_hint(error, "no permission", global.command("ls") + " shows owner and mode")};
            return {code, with_hint(error, "no permission", "")};
        case EBADMSG:
            return {code, with_hint(error, "damaged",
                                    queue ? fmt::format("{} tells more, {} removes it", global.command("fsck"),
                                                        global.command("rm " + object))
                                          : std::string())};
        case EMFILE:
        case ENFILE:
            return {code, with_hint(error, "too many open files", "see `ulimit -n`")};
        case EINTR:
            return {code, with_hint(error, "interrupted by a signal", "")};
        default:
            break;
    }
    return {code, with_hint(error, error.code().message(), "")};
}

}  // namespace muster::cli
