// msgrcv without sleeping: which message it takes, and what it does with one that is too long.
// ENOMSG E2BIG EINVAL EFAULT; types 0, positive and negative, MSG_EXCEPT, MSG_NOERROR, MSG_COPY; what IPC_STAT says after each call.
#include <random>
#include <vector>

#include "msg_cases.hpp"

// Copies by index until there is none: the queue as it stands.
static std::string contents(int id) {
    std::string all;
    for (long index = 0;; ++index) {
        const std::string one = pick(id, index, MSG_COPY | IPC_NOWAIT);
        if (one == "ENOMSG") return all;
        if (one.find(':') == std::string::npos) return all + " " + one;
        all += (all.empty() ? "" : " ") + one;
    }
}

static void need_copies() {
    const int id = make();
    const std::string got = pick(id, 0, MSG_COPY | IPC_NOWAIT);
    OK(remove_queue(id));
    SHOWS(got == "ENOSYS" ? "ENOSYS" : "ENOMSG", got);
    if (got == "ENOSYS") skip("the kernel was built without MSG_COPY");
}

CASE(msg_receive_any) {
    const int id = make();
    SHOWS("ENOMSG", pick(id));
    for (const long type : {3L, 1L, 2L}) OK(put(id, type, "m"));
    SHOWS("3:m 1:m 2:m", drain(id));
    SHOWS("ENOMSG", pick(id));
    OK(remove_queue(id));
}

CASE(msg_receive_by_type) {
    const int id = make();
    int letter = 'a';
    for (const long type : {3L, 1L, 3L, 2L, 1L, LONG_MAX}) OK(put(id, type, std::string(1, static_cast<char>(letter++))));
    SHOWS("ENOMSG", pick(id, 4));
    SHOWS("1:b", pick(id, 1));
    SHOWS("3:a", pick(id, 3));
    SHOWS("3:c", pick(id, 3));
    SHOWS("ENOMSG", pick(id, 3));
    SHOWS("LONG_MAX", pick(id, LONG_MAX) == std::to_string(LONG_MAX) + ":f" ? "LONG_MAX" : "another");
    SHOWS("2/2/16384", counts(id));
    SHOWS("2:d 1:e", drain(id));
    OK(remove_queue(id));
}

// A negative type: the lowest that is not above, the oldest of it.
CASE(msg_receive_lowest) {
    const int id = make();
    int letter = 'a';
    for (const long type : {5L, 3L, 7L, 3L, 4L, 5L, 1L}) OK(put(id, type, std::string(1, static_cast<char>(letter++))));
    SHOWS("1:g", pick(id, -4));
    SHOWS("3:b", pick(id, -4));
    SHOWS("3:d", pick(id, -100));
    SHOWS("ENOMSG", pick(id, -3));
    SHOWS("4:e", pick(id, -4));
    SHOWS("ENOMSG", pick(id, -1));
    SHOWS("5:a", pick(id, -6));
    SHOWS("5:f", pick(id, LONG_MIN + 1));
    SHOWS("7:c", pick(id, LONG_MIN));
    SHOWS("ENOMSG", pick(id, LONG_MIN));
    OK(put(id, LONG_MAX, "last"));
    SHOWS("ENOMSG", pick(id, LONG_MIN + 2));
    HOLDS(pick(id, LONG_MIN) == std::to_string(LONG_MAX) + ":last");  // as LONG_MIN + 1, whose magnitude there is
    OK(remove_queue(id));
}

// The oldest of another type; with type 0 and below 0 the flag means nothing.
CASE(msg_receive_except) {
    const int id = make();
    int letter = 'a';
    for (const long type : {2L, 2L, 1L, 3L, 1L, 2L}) OK(put(id, type, std::string(1, static_cast<char>(letter++))));
    SHOWS("1:c", pick(id, 2, MSG_EXCEPT | IPC_NOWAIT));
    SHOWS("3:d", pick(id, 2, MSG_EXCEPT | IPC_NOWAIT));
    SHOWS("2:a", pick(id, 1, MSG_EXCEPT | IPC_NOWAIT));
    SHOWS("1:e", pick(id, 2, MSG_EXCEPT | IPC_NOWAIT));
    SHOWS("ENOMSG", pick(id, 2, MSG_EXCEPT | IPC_NOWAIT));
    SHOWS("2:b", pick(id, 0, MSG_EXCEPT | IPC_NOWAIT));
    OK(put(id, 1, "g"));
    SHOWS("1:g", pick(id, -2, MSG_EXCEPT | IPC_NOWAIT));
    SHOWS("ENOMSG", pick(id, -1, MSG_EXCEPT | IPC_NOWAIT));
    SHOWS("2:f", pick(id, LONG_MAX, MSG_EXCEPT | IPC_NOWAIT));
    OK(remove_queue(id));
}

// Too long: E2BIG and the message stays, also for others; with MSG_NOERROR the rest is cut off and gone.
CASE(msg_receive_too_long) {
    const int id = make();
    OK(put(id, 1, "abcdef"));
    OK(put(id, 2, "xyz"));
    SHOWS("E2BIG", pick(id, 0, IPC_NOWAIT, 5));
    SHOWS("E2BIG", pick(id, 1, 0, 0));
    SHOWS("E2BIG", pick(id, -2, 0, 5));
    SHOWS("E2BIG", pick(id, 2, MSG_EXCEPT, 5));
    SHOWS("2/9/16384", counts(id));
    OK(look(id).msg_lrpid);
    OK(look(id).msg_rtime);
    SHOWS("2:xyz", pick(id, 2, 0, 3));
    SHOWS("1:abcdef", pick(id, 0, IPC_NOWAIT, 6));
    OK(put(id, 1, "abcdef"));
    SHOWS("1:abcd", pick(id, 0, MSG_NOERROR, 4));
    SHOWS("0/0/16384", counts(id));
    SHOWS("ENOMSG", pick(id));
    OK(put(id, 9, "abcdef"));
    SHOWS("9:", pick(id, 0, MSG_NOERROR, 0));
    OK(put(id, 9, "abc"));
    SHOWS("9:abc", pick(id, 0, MSG_NOERROR, 3));
    OK(put(id, 9, ""));
    SHOWS("9:", pick(id, 0, 0, 0));
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// A room of any size is good; a negative one is not.
CASE(msg_receive_room) {
    const int id = make();
    static Message message;
    for (const long room : {-1L, LONG_MIN}) FAILS(EINVAL, msgrcv(id, &message, static_cast<size_t>(hidden(&room)[0]), 0, IPC_NOWAIT));
    OK(put(id, 1, "abc"));
    for (const long room : {-1L, LONG_MIN}) FAILS(EINVAL, msgrcv(id, &message, static_cast<size_t>(hidden(&room)[0]), 0, MSG_NOERROR));
    const long much = LONG_MAX;
    GIVES(3, msgrcv(id, &message, static_cast<size_t>(hidden(&much)[0]), 0, IPC_NOWAIT));
    OK(remove_queue(id));
}

// Flags without a meaning are ignored.
CASE(msg_receive_flags) {
    const int id = make();
    for (const int flags : {0x10000, IPC_CREAT | 0777, INT_MIN}) {
        OK(put(id, 1, "abc"));
        SHOWS("1:abc", pick(id, 1, flags));
    }
    OK(remove_queue(id));
}

CASE(msg_receive_stat) {
    const int id = make();
    for (int n = 0; n < 3; ++n) OK(put(id, n + 1, std::string(static_cast<size_t>(n + 1), 'x')));
    timespec before{};
    clock_gettime(CLOCK_REALTIME_COARSE, &before);
    SHOWS("ENOMSG", pick(id, 9));
    OK(look(id).msg_lrpid);
    SHOWS("2:xx", pick(id, 2));
    SHOWS("2/4/16384", counts(id));
    HOLDS(look(id).msg_lrpid == getpid());
    HOLDS(since(look(id).msg_rtime, before.tv_sec));
    const pid_t child = start([id] { SHOWS("1:x", pick(id)); });
    SHOWS("exit 0", finish(child));
    HOLDS(look(id).msg_lrpid == child);
    HOLDS(look(id).msg_lspid == getpid());
    SHOWS("1/3/16384", counts(id));
    std::thread thread = start_thread([id] { SHOWS("3:x", pick(id, 0, MSG_NOERROR, 1)); });
    thread.join();
    HOLDS(look(id).msg_lrpid == getpid());
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// MSG_COPY: by index from 0, nothing taken, nothing noted.
CASE(msg_copy) {
    need_copies();
    const int id = make();
    for (int n = 0; n < 4; ++n) OK(put(id, 4 - n, std::string(static_cast<size_t>(n), 'x')));
    SHOWS("4: 3:x 2:xx 1:xxx", contents(id));
    SHOWS("2:xx", pick(id, 2, MSG_COPY | IPC_NOWAIT));
    SHOWS("ENOMSG", pick(id, 4, MSG_COPY | IPC_NOWAIT));
    SHOWS("ENOMSG", pick(id, -1, MSG_COPY | IPC_NOWAIT));
    SHOWS("ENOMSG", pick(id, LONG_MIN, MSG_COPY | IPC_NOWAIT));
    SHOWS("ENOMSG", pick(id, LONG_MAX, MSG_COPY | IPC_NOWAIT));
    SHOWS("4/6/16384", counts(id));
    OK(look(id).msg_lrpid);
    OK(look(id).msg_rtime);
    SHOWS("3:x", pick(id, 3));
    SHOWS("4: 2:xx 1:xxx", contents(id));
    SHOWS("2:xx", pick(id, -2, IPC_NOWAIT) == "1:xxx" ? pick(id, 1, MSG_COPY | IPC_NOWAIT) : "?");
    OK(remove_queue(id));
}

// Only with IPC_NOWAIT and without MSG_EXCEPT, on whatever queue.
CASE(msg_copy_flags) {
    need_copies();
    const int id = make();
    OK(put(id, 1, "abc"));
    SHOWS("EINVAL", pick(id, 0, MSG_COPY));
    SHOWS("EINVAL", pick(id, 0, MSG_COPY | MSG_EXCEPT));
    SHOWS("EINVAL", pick(id, 0, MSG_COPY | MSG_EXCEPT | IPC_NOWAIT));
    SHOWS("EINVAL", pick(id, 0, MSG_COPY | MSG_NOERROR));
    SHOWS("EINVAL", pick(-1, 0, MSG_COPY | IPC_NOWAIT));
    FAILS(EINVAL, msgrcv(id, hidden(static_cast<char*>(nullptr)), 1, 0, MSG_COPY));
    SHOWS("1:abc", pick(id, 0, MSG_COPY | MSG_NOERROR | IPC_NOWAIT));
    OK(remove_queue(id));
    SHOWS("EINVAL", pick(id, 0, MSG_COPY | IPC_NOWAIT));
}

// A copy that does not fit: E2BIG; with MSG_NOERROR it is not cut, but refused as EINVAL.
CASE(msg_copy_too_long) {
    need_copies();
    const int id = make();
    OK(put(id, 1, "abcdef"));
    SHOWS("E2BIG", pick(id, 0, MSG_COPY | IPC_NOWAIT, 5));
    SHOWS("E2BIG", pick(id, 0, MSG_COPY | IPC_NOWAIT, 0));
    SHOWS("EINVAL", pick(id, 0, MSG_COPY | MSG_NOERROR | IPC_NOWAIT, 5));
    SHOWS("1:abcdef", pick(id, 0, MSG_COPY | MSG_NOERROR | IPC_NOWAIT, 6));
    SHOWS("1/6/16384", counts(id));
    OK(remove_queue(id));
}

// The buffer is looked at before the queue: EFAULT for an empty and a removed one.
CASE(msg_copy_bad_pointers) {
    need_copies();
    const int id = make();
    const auto nowhere = [] { return hidden(static_cast<char*>(nullptr)); };
    FAILS(EFAULT, msgrcv(id, nowhere(), 1, 0, MSG_COPY | IPC_NOWAIT));
    OK(put(id, 1, "abcdef"));
    FAILS(EFAULT, msgrcv(id, nowhere(), 1, 0, MSG_COPY | IPC_NOWAIT));
    FAILS(EFAULT, msgrcv(id, nowhere(), 6, 0, MSG_COPY | IPC_NOWAIT));
    FAILS(EFAULT, msgrcv(id, brink(10), 6, 0, MSG_COPY | IPC_NOWAIT));
    FAILS(EFAULT, msgrcv(id, brink(20, PROT_READ), 6, 0, MSG_COPY | IPC_NOWAIT));
    SHOWS("1/6/16384", counts(id));
    GIVES(6, msgrcv(id, brink(14), 6, 0, MSG_COPY | IPC_NOWAIT));
    OK(remove_queue(id));
    FAILS(EFAULT, msgrcv(id, nowhere(), 1, 0, MSG_COPY | IPC_NOWAIT));
}

// Nothing is touched but the type and the message itself.
CASE(msg_receive_at_the_edge) {
    const int id = make();
    for (int n = 0; n < 3; ++n) OK(put(id, 7, "abcd"));
    char* at = brink(12);
    GIVES(4, msgrcv(id, at, kMessageMax, 0, IPC_NOWAIT));
    HOLDS(std::memcmp(at, "\7\0\0\0\0\0\0\0abcd", 12) == 0);
    char* shorter = brink(10);
    GIVES(2, msgrcv(id, shorter, 2, 0, IPC_NOWAIT | MSG_NOERROR));
    HOLDS(std::memcmp(shorter, "\7\0\0\0\0\0\0\0ab", 10) == 0);
    GIVES(0, msgrcv(id, brink(8), 0, 0, IPC_NOWAIT | MSG_NOERROR));
    OK(put(id, 7, ""));
    GIVES(0, msgrcv(id, brink(8), kMessageMax, 0, IPC_NOWAIT));
    OK(remove_queue(id));
}

// EFAULT, and never a crash. Whether the message is lost then, as on the kernel, or stays, is nobody's promise: it is not looked at.
CASE(msg_receive_bad_pointers) {
    const int id = make();
    const auto address = [](long at) { return hidden(reinterpret_cast<char*>(at)); };
    const auto refill = [id] {
        drain(id);
        OK(put(id, 1, std::string(6000, 'x')));
    };
    for (const long at : {0L, 8L, -4096L, 0x7fff'ffff'f000L, LONG_MIN}) {
        refill();
        FAILS(EFAULT, msgrcv(id, address(at), kMessageMax, 0, IPC_NOWAIT));
    }
    for (const size_t bytes : {0u, 7u, 8u, 9u, 4096u, 6007u}) {
        refill();
        FAILS(EFAULT, msgrcv(id, brink(bytes), kMessageMax, 0, IPC_NOWAIT));
    }
    refill();
    FAILS(EFAULT, msgrcv(id, brink(8000, PROT_READ), kMessageMax, 0, IPC_NOWAIT));
    refill();
    FAILS(EFAULT, msgrcv(id, brink(40), 33, 0, IPC_NOWAIT | MSG_NOERROR));
    drain(id);
    SHOWS("0/0/16384", counts(id));
    OK(put(id, 1, "good"));
    SHOWS("1:good", pick(id));
    OK(remove_queue(id));
}

// Everything else is judged before the buffer.
CASE(msg_receive_precedence) {
    const int id = make(), gone = make();
    OK(remove_queue(gone));
    const auto nowhere = [] { return hidden(static_cast<char*>(nullptr)); };
    const long negative = -1;
    FAILS(EINVAL, msgrcv(-1, nowhere(), 1, 0, IPC_NOWAIT));
    FAILS(EINVAL, msgrcv(gone, nowhere(), 1, 0, IPC_NOWAIT));
    FAILS(EINVAL, msgrcv(id, nowhere(), static_cast<size_t>(hidden(&negative)[0]), 0, IPC_NOWAIT));
    FAILS(ENOMSG, msgrcv(id, nowhere(), 1, 0, IPC_NOWAIT));
    OK(put(id, 1, "abc"));
    FAILS(ENOMSG, msgrcv(id, nowhere(), 1, 2, IPC_NOWAIT));
    FAILS(E2BIG, msgrcv(id, nowhere(), 2, 0, IPC_NOWAIT));
    SHOWS("1:abc", pick(id));
    OK(remove_queue(id));
}

// A model of the queue, against which each of many receives by all selectors is judged.
CASE(msg_receive_against_model) {
    const int id = make();
    OK(set_bytes(id, 400));
    std::mt19937 random(7);
    struct Kept {
        long type;
        std::string text;
    };
    std::vector<Kept> model;
    long wrong = 0, taken = 0;
    for (int step = 0; step < 20'000; ++step) {
        if (random() % 100 < 55) {
            const long type = 1 + static_cast<long>(random() % 6);
            const std::string text = std::to_string(step);
            size_t bytes = text.size();
            for (const Kept& each : model) bytes += each.text.size();
            const bool fits = bytes <= 400;
            wrong += (put(id, type, text) == 0) != fits;
            if (fits) model.push_back({type, text});
            continue;
        }
        const long type = static_cast<long>(random() % 15) - 7;
        const int flags = random() % 3 == 0 ? MSG_EXCEPT : 0;
        auto best = model.end();
        for (auto each = model.begin(); each != model.end(); ++each) {
            const bool matches = type == 0 || (type > 0 ? (each->type == type) != (flags != 0) : each->type <= -type);
            if (matches && (best == model.end() || (type < 0 && each->type < best->type))) best = each;
        }
        const std::string expected = best == model.end() ? "ENOMSG" : std::to_string(best->type) + ":" + best->text;
        if (best != model.end()) model.erase(best), ++taken;
        wrong += pick(id, type, flags | IPC_NOWAIT) != expected;
    }
    OK(wrong);
    SEES(taken);
    GIVES(static_cast<long>(model.size()), static_cast<long>(look(id).msg_qnum));
    OK(remove_queue(id));
}

// 10 000 messages of as many types within the default limit, which is 16 384 bytes: one byte each, and the one wanted behind them.
constexpr int kDeep = 10'000;
static int type_of(int n) {
    return 1000 + static_cast<int>(n * 7919L % kDeep);
}
static int deep() {
    const int id = make();
    long failed = 0;
    for (int n = 0; n < kDeep; ++n) failed += put(id, type_of(n), std::string(1, static_cast<char>('a' + n % 26))) != 0;  // each type once
    OK(failed);
    SHOWS("10000/10000/16384", counts(id));
    return id;
}
static std::string message_of_type(long type) {
    static std::vector<int> sent;
    if (sent.empty()) {
        sent.resize(kDeep);
        for (int n = 0; n < kDeep; ++n) sent[static_cast<size_t>(type_of(n) - 1000)] = n;
    }
    return std::to_string(type) + ":" + static_cast<char>('a' + sent[static_cast<size_t>(type - 1000)] % 26);
}

CASE(msg_deep_by_type) {
    const int id = deep();
    OK(put(id, 5, "wanted"));
    SHOWS("5:wanted", pick(id, 5));
    SHOWS("ENOMSG", pick(id, 5));
    long wrong = 0;
    for (int n = kDeep - 1; n >= kDeep / 2; --n) wrong += pick(id, type_of(n)) != message_of_type(type_of(n));
    for (long type = 1000 + kDeep - 1; type >= 1000; --type) {
        const std::string got = pick(id, type);
        wrong += got != message_of_type(type) && got != "ENOMSG";
    }
    OK(wrong);
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

CASE(msg_deep_lowest) {
    const int id = deep();
    OK(put(id, 5, "first"));
    OK(put(id, 5, "second"));
    SHOWS("5:first", pick(id, -5));
    SHOWS("5:second", pick(id, LONG_MIN));
    SHOWS("ENOMSG", pick(id, -999));
    long wrong = 0;
    for (long type = 1000; type < 1000 + kDeep; ++type) wrong += pick(id, -(type + type % 3)) != message_of_type(type);
    OK(wrong);
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

CASE(msg_deep_any) {
    const int id = deep();
    long wrong = 0;
    for (int n = 0; n < kDeep; ++n) wrong += pick(id) != message_of_type(type_of(n));
    OK(wrong);
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// The other way round: 10 000 of one type before the few that are not excepted.
CASE(msg_deep_except) {
    const int id = make();
    long wrong = 0;
    for (int n = 0; n < kDeep; ++n) wrong += put(id, 5, std::string(1, static_cast<char>('a' + n % 26))) != 0;
    for (int n = 0; n < 100; ++n) wrong += put(id, 6 + n * 11 % 100, "behind") != 0;
    for (int n = 0; n < 100; ++n) wrong += pick(id, 5, MSG_EXCEPT | IPC_NOWAIT) != std::to_string(6 + n * 11 % 100) + ":behind";
    OK(wrong);
    SHOWS("ENOMSG", pick(id, 5, MSG_EXCEPT | IPC_NOWAIT));
    for (int n = 0; n < kDeep; ++n) wrong += pick(id, n % 2 ? 5 : -7) != std::string("5:") + static_cast<char>('a' + n % 26);
    OK(wrong);
    SHOWS("0/0/16384", counts(id));
    OK(remove_queue(id));
}

// As many as the count allows: the three selectors in turn, against the order in which they were sent.
CASE(msg_deep_mixed) {
    const int id = make();
    constexpr int kTypes = 64, kMany = 16'384;
    std::vector<std::vector<int>> model(kTypes);
    std::mt19937 random(3);
    long wrong = 0;
    for (int n = 0; n < kMany; ++n) {
        const size_t type = random() % kTypes;
        model[type].push_back(n);
        wrong += put(id, static_cast<long>(type) + 1, std::string(1, static_cast<char>('a' + n % 26))) != 0;
    }
    OK(wrong);
    FAILS(EAGAIN, put(id, 1, ""));
    SHOWS("16384/16384/16384", counts(id));
    std::vector<size_t> next(kTypes);
    for (int n = 0; n < kMany; ++n) {
        // The oldest of all, and of the lowest type there is.
        size_t oldest = kTypes, lowest = kTypes;
        for (size_t type = 0; type < kTypes; ++type) {
            if (next[type] == model[type].size()) continue;
            if (lowest == kTypes) lowest = type;
            if (oldest == kTypes || model[type][next[type]] < model[oldest][next[oldest]]) oldest = type;
        }
        const size_t some = random() % kTypes;
        const size_t chosen = n % 3 == 0 ? oldest : n % 3 == 1 ? lowest : some;
        const long selector = n % 3 == 0 ? 0 : n % 3 == 1 ? LONG_MIN : static_cast<long>(some) + 1;
        const std::string got = pick(id, selector);
        if (next[chosen] == model[chosen].size()) {
            wrong += got != "ENOMSG";
            continue;
        }
        wrong += got != std::to_string(chosen + 1) + ":" + static_cast<char>('a' + model[chosen][next[chosen]] % 26);
        ++next[chosen];
    }
    OK(wrong);
    OK(remove_queue(id));
}
