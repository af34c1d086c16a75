// Lives: how the end of a process image is learnt, whether by exit, kill -9 or exec.
//
// The domain has one empty file, sysv/.life. An image that attaches a segment draws a random number, which is never given out
// twice, and locks the byte of that number. The lock belongs to an open description that nobody else has, marked close-on-exec:
// the kernel drops it when the image ends, before its parent can wait for it. Whoever meets the number asks the kernel whether
// the byte is locked. No heartbeat, no process id that may be used again, nothing to clean up.
//
// A child is given a life by its parent before fork: the parent opens the description and locks the byte, the child inherits
// it, the parent closes its copy. Since the child may end before that, it first goes over to a life of its own.
#pragma once
#include <cstdint>
#include "objects/domain.hpp"

namespace muster::objects {

class Life {
public:
    Life() = default;
    // A new life. Errors: EMFILE, ENFILE, EACCES, ENOSPC.
    static platform::Outcome<Life> begin(const Domain& domain);

    explicit operator bool() const { return number_ != 0; }
    std::uint64_t number() const { return number_; }
    int fd() const { return file_.fd(); }
    // Whether the descriptor is what it was: programs close what they do not know.
    bool still_held() const;
    // Ends it, whoever else has a copy of its description.
    void end();
    // Forgets the descriptor without closing it: it is somebody else's by now.
    void abandon() {
        (void)file_.release();
        number_ = 0;
    }

private:
    platform::File file_;
    std::uint64_t number_ = 0;
    std::uint64_t inode_ = 0;
};

// Asks about lives. Opens the file when first asked.
class LifeWatch {
public:
    // `own` may be null: a process that has attached nothing.
    LifeWatch(const Domain& domain, const Life* own) : domain_(domain), own_(own) {}
    // True also if the kernel could not be asked: nobody is declared dead by mistake.
    bool is_alive(std::uint64_t number);

private:
    const Domain& domain_;
    const Life* own_;
    platform::File file_;
    bool opened_ = false;
};

}  // namespace muster::objects
