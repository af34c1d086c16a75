// How the checks of all kinds of objects tell what they find.
#pragma once
#include <cstdint>
#include <cstdio>

namespace muster::objects {

// One thing that is wrong: in words, and how many messages and bytes are at stake. `repairable`: the kind's repair() derives
// what is right from what is left; false: nobody knows any more what stood there.
struct Found {
    const char* what;
    std::uint64_t bytes;
    std::uint32_t messages;
    bool repairable;
};

// Where findings go. Words them; what is beyond the most is counted only.
class Findings {
public:
    using Take = void (*)(void* context, const Found& found);
    Findings(Take take, void* context) : take_(take), context_(context) {}

    struct Stake {
        std::uint64_t bytes = 0;
        std::uint32_t messages = 0;
        bool repairable = true;
    };
    __attribute__((format(printf, 3, 4))) void say(Stake stake, const char* format, ...) {
        ++count_;
        if (count_ > kMost) return;
        char text[200];
        Arguments arguments;
        __builtin_va_start(arguments.list, format);
        std::vsnprintf(text, sizeof text, format, arguments.list);
        __builtin_va_end(arguments.list);
        take_(context_, {text, stake.bytes, stake.messages, stake.repairable});
    }
    unsigned count() const { return count_; }

private:
    static constexpr unsigned kMost = 100;
    struct Arguments {
        __builtin_va_list list;
    };
    Take take_;
    void* context_;
    unsigned count_ = 0;
};

}  // namespace muster::objects
