// A POSIX named semaphore of the domain: its file holds the C library's sem_t, whose own calls do the work.
#pragma once
#include <semaphore.h>
#include "failure.hpp"
#include "muster/deadline.hpp"
#include "muster/domain.hpp"

namespace muster::cli {

class NamedSemaphore {
public:
    NamedSemaphore(const ObjectInfo& object, const Global& global);  // fails if its file cannot be used
    ~NamedSemaphore();
    NamedSemaphore(const NamedSemaphore&) = delete;

    void post(unsigned amount, const Global& global) const;
    // Takes one after the other; gives back what it took if the rest does not come in time.
    void wait(unsigned amount, Deadline deadline, const Global& global) const;

private:
    std::string name_;
    sem_t* semaphore_;
};

}  // namespace muster::cli
