// The parts of Domain::fsck: the objects one by one, and what lies between them.
#pragma once
#include <string>
#include <string_view>
#include <vector>
#include "listing.hpp"
#include "objects/findings.hpp"
#include "system_v.hpp"

namespace muster::cpp {

class Checker {
public:
    Checker(const Domain& domain, bool repair, std::string_view only)
        : domain_(domain), core_(domain.implementation()->domain), repair_(repair), only_(only) {}

    std::vector<Finding> check();

private:
    using Fault = platform::Fault;
    // A file in the domain, and what its users call it.
    struct Subject {
        std::string file, name;
        std::uint64_t bytes = 0;  // of memory
    };
    struct Remedy {
        bool can = false;   // repair can
        bool done = false;  // and has
        std::string words;
    };

    bool wanted(const std::string& file) const { return only_.empty() || only_ == domain_.path() + "/" + file; }
    Finding& tell(const Subject& subject, std::string what, std::uint64_t bytes, Remedy remedy);
    // Something that nobody needs to act upon.
    void note(const Subject& subject, std::string what, std::string words);
    // Mends what is said to be mendable: `mend` returns whether it did.
    template <class Mend>
    void tell_mendable(const Subject& subject, std::string what, std::uint64_t bytes, std::string words, Mend mend) {
        const bool done = repair_ && mend();
        tell(subject, std::move(what), bytes, {true, done, std::move(words)});
    }
    // What the engine found. `mend` repairs all of it, and the engine is asked again afterwards.
    template <class Check, class Mend>
    void tell_found(const Subject& subject, const std::string& words, Check check, Mend mend);

    // domain_fsck.cpp: the objects.
    void queues();
    void queue(const std::string& name);
    void typed_queue(const Subject& subject, std::uint32_t index, const objects::SysvFile& file);
    template <class Open>
    void any_queue(const Subject& subject, int fd, int slots_fd, Open open);
    void semaphore_set(const Subject& subject, const objects::SysvFile& file);
    void segment(const Subject& subject, std::uint32_t index, const objects::SysvFile& file);
    void posix_semaphore(const std::string& name);
    void posix_memory(const std::string& name);

    // domain_fsck_names.cpp: what names them, and what else is there.
    void system_v();
    void object_at(const cpp::SysvPlace& place);
    bool settle_identity(const cpp::SysvPlace& place, Subject& subject);
    void keys();
    void companions();
    void hints();
    void lives();
    void limits();
    void fifos();
    void strangers();
    Subject subject_of(const std::string& file, std::string name) const;
    platform::File open_file(const std::string& file, int flags = O_RDWR) const;

    const Domain& domain_;
    const objects::Domain& core_;
    bool repair_;
    std::string_view only_;
    std::vector<Finding> found_;
    std::vector<std::string> given_back_;  // places among the identifiers
};

}  // namespace muster::cpp
