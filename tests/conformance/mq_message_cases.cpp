// Sending and receiving without waiting: order, sizes, priorities, deadlines, attributes, precedence of errors.
#include <climits>

#include "case.hpp"

// Highest priority first, oldest first within one.
CASE(order) {
    const mqd_t queue = OPENS(create('a', 8, 16));
    OK(send(queue, "a1", 1));
    OK(send(queue, "a5", 5));
    OK(send(queue, "b1", 1));
    OK(send(queue, "a0", 0));
    OK(send(queue, "b5", 5));
    OK(send(queue, "amax", 32767));
    OK(send(queue, "c5", 5));
    SHOWS("32767:amax", take(queue));
    SHOWS("5:a5", take(queue));
    OK(send(queue, "a3", 3));
    SHOWS("5:b5", take(queue));
    SHOWS("5:c5", take(queue));
    SHOWS("3:a3", take(queue));
    OK(send(queue, "c1", 1));
    SHOWS("1:a1", take(queue));
    SHOWS("1:b1", take(queue));
    SHOWS("1:c1", take(queue));
    SHOWS("0:a0", take(queue));
    SHOWS("8/16/0/0", state(queue));
}

// Every priority from 0 to 32767 is good and kept; 32768 and above are EINVAL.
CASE(priorities) {
    const mqd_t queue = OPENS(create('a', 10, 16));
    long wrong = 0;
    for (unsigned base = 0; base < 32768; base += 8) {
        for (unsigned i = 0; i < 8; ++i) wrong += send(queue, "x", base + (i * 5) % 8) != 0;
        for (unsigned i = 0; i < 8; ++i) wrong += take(queue) != std::to_string(base + 7 - i) + ":x";
    }
    OK(wrong);
    for (const unsigned bad : {32768u, 32769u, 65536u, 0x7fffffffu, 0x80000000u, 0xffffffffu})
        FAILS(EINVAL, send(queue, "x", bad));
    SHOWS("10/16/0/0", state(queue));
}

// EMSGSIZE: a message longer than mq_msgsize; a buffer shorter than mq_msgsize, whatever the message's length.
CASE(sizes) {
    const mqd_t queue = OPENS(create('a', 4, 8, O_RDWR | O_NONBLOCK));
    char buffer[16];
    FAILS(EMSGSIZE, send(queue, "123456789"));
    OK(send(queue, "12345678"));
    OK(send(queue, "1"));
    FAILS(EMSGSIZE, static_cast<int>(mq_receive(queue, buffer, 7, nullptr)));
    FAILS(EMSGSIZE, static_cast<int>(mq_receive(queue, buffer, 0, nullptr)));
    SHOWS("4/8/2/nonblock", state(queue));
    GIVES(8, mq_receive(queue, buffer, 8, nullptr));
    FAILS(EMSGSIZE, static_cast<int>(mq_receive(queue, buffer, 1, nullptr)));
    GIVES(1, mq_receive(queue, buffer, 16, nullptr));
    FAILS(EMSGSIZE, static_cast<int>(mq_receive(queue, buffer, 7, nullptr)));  // before EAGAIN
    FAILS(EMSGSIZE, mq_send(queue, buffer, SIZE_MAX, 0));
    FAILS(EMSGSIZE, mq_send(queue, buffer, static_cast<size_t>(INT_MAX) + 1, 0));
    OK(send(queue, "x"));
    SEES(mq_receive(queue, buffer, SIZE_MAX, nullptr));
    SHOWS("4/8/0/nonblock", state(queue));
}

// A message of no bytes is a message; the buffer behind the bytes received is left alone.
CASE(empty_messages) {
    const mqd_t queue = OPENS(create('a', 3, 8, O_RDWR | O_NONBLOCK));
    OK(mq_send(queue, "", 0, 2));
    OK(mq_send(queue, "", 0, 4));
    SHOWS("3/8/2/nonblock", state(queue));
    SHOWS("4:", take(queue));
    char buffer[9] = "########";
    unsigned priority = 9;
    GIVES(0, mq_receive(queue, buffer, 8, &priority));
    GIVES(2, static_cast<long>(priority));
    SHOWS("########", buffer);
    OK(send(queue, "ab"));
    GIVES(2, mq_receive(queue, buffer, 8, nullptr));
    SHOWS("ab######", buffer);
    FAILS(EAGAIN, static_cast<int>(mq_receive(queue, buffer, 8, &priority)));
    GIVES(2, static_cast<long>(priority));
}

// All bytes of messages of many lengths come back, up to the largest of the kernel's default.
CASE(contents) {
    const mqd_t queue = OPENS(create('a', 2, 8192));
    static char sent[8192], got[8192];
    long wrong = 0;
    unsigned noise = 1;
    for (size_t length :
         {0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 255, 256, 1000, 4040, 4048, 4095, 4096, 4097, 8100, 8191, 8192}) {
        for (size_t i = 0; i < length; ++i) sent[i] = static_cast<char>((noise = noise * 1103515245 + 12345) >> 16);
        wrong += mq_send(queue, sent, length, 0) != 0;
        wrong += mq_receive(queue, got, sizeof got, nullptr) != static_cast<ssize_t>(length);
        wrong += std::memcmp(sent, got, length) != 0;
    }
    OK(wrong);
}

// EAGAIN with O_NONBLOCK on a full and on an empty queue, from plain and timed calls; a deadline does not matter then.
CASE(full_and_empty) {
    const mqd_t queue = OPENS(create('a', 2, 8, O_RDWR | O_NONBLOCK));
    char buffer[8];
    const timespec far = in_ms(kLong_ms);
    SHOWS("EAGAIN", take(queue));
    FAILS(EAGAIN, static_cast<int>(mq_timedreceive(queue, buffer, 8, nullptr, &far)));
    FAILS(EAGAIN, static_cast<int>(mq_timedreceive(queue, buffer, 8, nullptr, &kPast)));
    OK(send(queue, "1"));
    OK(send(queue, "2"));
    FAILS(EAGAIN, send(queue, "3"));
    FAILS(EAGAIN, send(queue, "3", 9));
    FAILS(EAGAIN, mq_timedsend(queue, "3", 1, 0, &far));
    FAILS(EAGAIN, mq_timedsend(queue, "3", 1, 0, &kPast));
    SHOWS("2/8/2/nonblock", state(queue));
    SHOWS("0:1", take(queue));
    OK(send(queue, "3"));
    FAILS(EAGAIN, send(queue, "4"));
}

// Deadlines that have passed: what need not wait succeeds, the rest is ETIMEDOUT. tv_sec may be 0, not negative.
CASE(deadline_passed) {
    const mqd_t queue = OPENS(create('a', 1, 8));
    char buffer[8];
    const timespec zero{0, 0}, just_now = in_ms(0);
    for (const timespec& at : {kPast, zero, just_now}) {
        FAILS(ETIMEDOUT, static_cast<int>(mq_timedreceive(queue, buffer, 8, nullptr, &at)));
        OK(mq_timedsend(queue, "x", 1, 3, &at));
        FAILS(ETIMEDOUT, mq_timedsend(queue, "y", 1, 3, &at));
        GIVES(1, mq_timedreceive(queue, buffer, 8, nullptr, &at));
    }
    SHOWS("1/8/0/0", state(queue));
}

// EINVAL for deadlines that are no times, when the call has to wait.
CASE(deadline_bad_when_waiting) {
    const mqd_t queue = OPENS(create('a', 1, 8));
    char buffer[8];
    const timespec bad[] = {{1, -1}, {1, 1'000'000'000}, {-1, 0}, {-1, 5}, {1, LONG_MAX}, {1, LONG_MIN}, {LONG_MIN, 0}};
    for (const timespec& at : bad) FAILS(EINVAL, static_cast<int>(mq_timedreceive(queue, buffer, 8, nullptr, &at)));
    OK(send(queue, "x"));
    for (const timespec& at : bad) FAILS(EINVAL, mq_timedsend(queue, "y", 1, 0, &at));
    SHOWS("0:x", take(queue));
}

// ... and when it need not wait: POSIX leaves that open, Linux refuses before it looks at anything else.
CASE(deadline_bad_without_waiting) {
    const mqd_t queue = OPENS(create('a', 2, 8));
    char buffer[8];
    const timespec bad{1, 1'000'000'000}, negative{-1, 0};
    FAILS(EINVAL, mq_timedsend(queue, "y", 1, 0, &bad));
    FAILS(EINVAL, mq_timedsend(queue, "y", 1, 0, &negative));
    OK(send(queue, "x"));
    FAILS(EINVAL, static_cast<int>(mq_timedreceive(queue, buffer, 8, nullptr, &bad)));
    FAILS(EINVAL, static_cast<int>(mq_timedreceive(queue, buffer, 8, nullptr, &negative)));
    FAILS(EINVAL, mq_timedsend(-1, "y", 1, 0, &bad));
    FAILS(EINVAL, static_cast<int>(mq_timedreceive(-1, buffer, 8, nullptr, &bad)));
    FAILS(EINVAL, mq_timedsend(queue, "123456789", 9, 0, &bad));
    SHOWS("2/8/1/0", state(queue));
}

// A deadline ahead is waited for: ETIMEDOUT, and not before its time. A null deadline means none.
CASE(deadline_ahead) {
    const mqd_t queue = OPENS(create('a', 1, 8));
    char buffer[8];
    const auto passed = [](const timespec& at) {
        timespec now{};
        clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec > at.tv_sec || (now.tv_sec == at.tv_sec && now.tv_nsec >= at.tv_nsec);
    };
    timespec at = in_ms(30);
    FAILS(ETIMEDOUT, static_cast<int>(mq_timedreceive(queue, buffer, 8, nullptr, &at)));
    HOLDS(passed(at));
    OK(mq_timedsend(queue, "x", 1, 0, hidden<const timespec>(nullptr)));
    at = in_ms(30);
    FAILS(ETIMEDOUT, mq_timedsend(queue, "y", 1, 0, &at));
    HOLDS(passed(at));
    GIVES(1, mq_timedreceive(queue, buffer, 8, nullptr, hidden<const timespec>(nullptr)));
    const timespec never{LONG_MAX, 999'999'999};
    OK(mq_timedsend(queue, "x", 1, 0, &never));
    GIVES(1, mq_timedreceive(queue, buffer, 8, nullptr, &never));
}

// Which error comes first when several are due.
CASE(error_precedence) {
    const mqd_t queue = OPENS(create('a', 1, 8, O_RDWR | O_NONBLOCK));
    const mqd_t reader = OPENS(mq_open(name(), O_RDONLY | O_NONBLOCK)), writer = OPENS(mq_open(name(), O_WRONLY | O_NONBLOCK));
    char buffer[8];
    FAILS(EINVAL, mq_send(-1, "x", 1, 32768));             // priority before descriptor
    FAILS(EINVAL, mq_send(queue, "123456789", 9, 32768));  // and before size
    FAILS(EBADF, mq_send(reader, "123456789", 9, 0));      // direction before size
    FAILS(EBADF, static_cast<int>(mq_receive(writer, buffer, 1, nullptr)));
    OK(send(queue, "x"));
    FAILS(EMSGSIZE, mq_send(queue, "123456789", 9, 0));  // size before full
    FAILS(EMSGSIZE, mq_timedsend(queue, "123456789", 9, 0, &kPast));
    FAILS(EINVAL, mq_send(queue, "x", 1, 32768));
    SHOWS("0:x", take(queue));
    FAILS(EMSGSIZE, static_cast<int>(mq_timedreceive(queue, buffer, 7, nullptr, &kPast)));
    mq_attr flags{};
    flags.mq_flags = 1;
    FAILS(EINVAL, mq_setattr(-1, &flags, nullptr));  // flags before descriptor
    sigevent event{};
    event.sigev_notify = 4711;
    FAILS(EINVAL, mq_notify(-1, &event));  // argument before descriptor
}

// mq_setattr takes O_NONBLOCK alone: other flags are EINVAL and change nothing; sizes and counts are ignored; the old
// state is given back.
CASE(attributes_set) {
    const mqd_t queue = OPENS(create('a', 3, 8));
    OK(send(queue, "x"));
    mq_attr wanted{}, old{};
    wanted.mq_flags = O_NONBLOCK;
    wanted.mq_maxmsg = 99;
    wanted.mq_msgsize = -5;
    wanted.mq_curmsgs = 42;
    OK(mq_setattr(queue, &wanted, &old));
    GIVES(0, old.mq_flags);
    GIVES(3, old.mq_maxmsg);
    GIVES(8, old.mq_msgsize);
    GIVES(1, old.mq_curmsgs);
    SHOWS("3/8/1/nonblock", state(queue));
    for (const long bad : {1L, static_cast<long>(O_NONBLOCK | O_APPEND), static_cast<long>(O_RDWR), -1L, 1L << 40,
                           static_cast<long>(O_CLOEXEC), static_cast<long>(O_NONBLOCK | 1)}) {
        wanted.mq_flags = bad;
        FAILS(EINVAL, mq_setattr(queue, &wanted, &old));
    }
    SHOWS("3/8/1/nonblock", state(queue));
    wanted.mq_flags = 0;
    OK(mq_setattr(queue, &wanted, &old));
    GIVES(O_NONBLOCK, old.mq_flags);
    OK(mq_setattr(queue, &wanted, nullptr));
    SHOWS("3/8/1/0", state(queue));
    wanted.mq_flags = O_NONBLOCK;
    OK(mq_setattr(queue, hidden(&wanted), hidden(&wanted)));  // one structure for both
    GIVES(0, wanted.mq_flags);
    GIVES(3, wanted.mq_maxmsg);
    SHOWS("3/8/1/nonblock", state(queue));
}

// The padding of mq_attr is zeroed by mq_getattr.
CASE(attributes_get) {
    const mqd_t queue = OPENS(create('a', 3, 8));
    mq_attr now;
    std::memset(&now, 0x5a, sizeof now);
    OK(mq_getattr(queue, &now));
    GIVES(0, now.mq_flags);
    GIVES(3, now.mq_maxmsg);
    GIVES(8, now.mq_msgsize);
    GIVES(0, now.mq_curmsgs);
    const auto* words = reinterpret_cast<const long*>(&now);
    for (size_t i = 4; i < sizeof now / sizeof(long); ++i) SEES(words[i]);
}

// Many rounds through a small queue with changing priorities keep order and count (indexes wrap, slots are reused).
CASE(many_rounds) {
    const mqd_t queue = OPENS(create('a', 10, 16));
    long wrong = 0;
    for (unsigned round = 0; round < 20'000; ++round) {
        const unsigned some = round % 5 * 2 + 2;  // two of each priority
        for (unsigned i = 0; i < some; ++i) wrong += send(queue, std::to_string(round + i).c_str(), i / 2) != 0;
        wrong += count(queue) != static_cast<long>(some);
        for (unsigned i = 0; i < some; ++i) {
            const unsigned lane = (some - 1 - i) / 2;
            wrong += take(queue) != std::to_string(lane) + ":" + std::to_string(round + lane * 2 + i % 2);
        }
    }
    OK(wrong);
    SHOWS("10/16/0/0", state(queue));
}
