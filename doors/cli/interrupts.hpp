// Ctrl-C while a command holds a message that nobody else has any more.
//
// A signal that arrives between taking a message and writing it must wait until it is
// written; one that arrives while waiting must end the wait at once.
#pragma once

namespace muster::cli {

// While it lives SIGINT, SIGTERM and SIGHUP only leave a note and interrupt system calls.
// One at a time. A second SIGINT kills at once.
class Interrupts {
public:
    Interrupts();
    ~Interrupts();
    Interrupts(const Interrupts&) = delete;
    Interrupts& operator=(const Interrupts&) = delete;

    static bool pending();
    // Ends the process by the signal that came, as if it had never been caught.
    [[noreturn]] static void die();
    static void die_if_pending() {
        if (pending()) die();
    }
};

}  // namespace muster::cli
