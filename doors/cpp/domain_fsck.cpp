// Domain::fsck, the objects: each is opened, its parts are compared with each other, and what follows from something else is made anew.
#include <semaphore.h>
#include <climits>
#include <cstring>
#include "fsck.hpp"
#include "objects/queue.hpp"
#include "objects/queue_salvage.hpp"
#include "objects/segment.hpp"
#include "objects/semaphore_set.hpp"
#include "platform/file.hpp"

namespace muster {
namespace cpp {
using objects::Findings;
using objects::Found;
using objects::SysvKind;

Finding& Checker::tell(const Subject& subject, std::string what, std::uint64_t bytes, Remedy remedy) {
    Finding finding;
    finding.path = domain_.path() + "/" + subject.file;
    finding.what = std::move(what);
    finding.bytes_at_stake = bytes;
    finding.repaired = remedy.done;
    finding.object = subject.name;
    finding.remedy = std::move(remedy.words);
    finding.repairable = remedy.can;
    found_.push_back(std::move(finding));
    return found_.back();
}

void Checker::note(const Subject& subject, std::string what, std::string words) {
    tell(subject, std::move(what), 0, {false, false, std::move(words)}).harmless = true;
}

template <class Check, class Mend>
void Checker::tell_found(const Subject& subject, const std::string& words, Check check, Mend mend) {
    struct Taker {
        std::vector<Found> found;
        std::vector<std::string> texts;
        static void take(void* self, const Found& one) {
            auto& to = *static_cast<Taker*>(self);
            to.found.push_back(one);
            to.texts.emplace_back(one.what);
        }
        unsigned hard() const {  // what no repair mends
            unsigned count = 0;
            for (const Found& one : found) count += one.repairable ? 0 : 1;
            return count;
        }
    };
    const auto run = [](Taker& taker, auto& call, bool& good) {
        Findings findings(&Taker::take, &taker);
        auto outcome = call(findings);
        good = static_cast<bool>(outcome);
        if (!good && outcome.fault().errno_value != EIDRM)
            findings.say({0, 0, true}, "%s", outcome.fault().rule != nullptr ? outcome.fault().rule : std::strerror(outcome.fault().errno_value));
    };
    Taker first, mending, after;
    bool good = true, mended = false;
    run(first, check, good);
    if (first.found.empty()) return;
    if (repair_) {
        bool done = true;
        run(mending, mend, done);
        if (done) {
            run(after, check, good);
            mended = good && after.found.size() == after.hard();
        }
    }
    for (std::size_t i = 0; i < first.found.size(); ++i) {
        const Found& one = first.found[i];
        Remedy remedy{one.repairable, one.repairable && mended, one.repairable ? words : "it stands nowhere else"};
        tell(subject, std::move(first.texts[i]), one.bytes, std::move(remedy)).messages_at_stake = one.messages;
    }
}

// ---- queues ----

void Checker::queues() {
    for (const std::string& name : entries(core_, "mq"))
        if (wanted("mq/" + name)) queue(name);
}

void Checker::queue(const std::string& name) {
    const Subject subject = subject_of("mq/" + name, "/" + name);
    auto file = core_.open_object(subject.file.c_str());
    if (!file) {
        if (file.fault().errno_value == ENOENT) return;
        const bool closed = file.fault().errno_value == EACCES;
        tell(subject, closed ? "this user may not look into it" : "not a file that can be opened; no queue", subject.bytes, {});
        return;
    }
    any_queue(subject, file->fd(), -1, [&](objects::Queue& queue) { return queue.open(file->fd(), true); });
}

void Checker::typed_queue(const Subject& subject, std::uint32_t index, const objects::SysvFile& file) {
    objects::SysvRegistry& registry = muster::cpp::system_v(domain_).registry;
    auto slots = registry.open_companion(SysvKind::msg, index, O_RDWR);
    if (!slots) {
        const bool gone = slots.fault().errno_value == EIDRM;
        tell(subject, gone ? "its messages are gone: the file " + subject.file + ".data is missing" : "this user may not look into it", subject.bytes,
             {false, false, gone ? "`muster rm` removes what is left" : ""});
        return;
    }
    any_queue(subject, -1, slots->fd(), [&](objects::Queue& queue) { return queue.open(file.file.fd(), true, slots->fd()); });
}

// `fd` is -1 for a typed one, which has a second file instead.
template <class Open>
void Checker::any_queue(const Subject& subject, int fd, int slots_fd, Open open) {
    objects::Queue queue;
    auto opened = open(queue);
    if (!opened) {
        const std::string why = reason(opened.fault());
        auto first = slots_fd >= 0 ? open_file(subject.file) : platform::File();
        const int header_fd = slots_fd >= 0 ? first.fd() : fd;
        bool done = false;
        // Whether it would be mended is not known before it is tried: nothing is written without --repair.
        objects::ShapeSource source{};
        bool several = false;
        const bool shape = static_cast<bool>(objects::find_queue_shape(header_fd, slots_fd, source, several)) && !several && source == objects::ShapeSource::header;
        if (repair_ && shape) done = objects::mend_queue_header(header_fd, slots_fd) && open(queue);
        tell(subject, why, subject.bytes,
             {shape && (done || !repair_), done, done || (shape && !repair_) ? "the header is written anew from the file's length and slots, if they allow it" : "the messages can be had by --salvage"});
        if (!done) return;
    }
    platform::ThreadState& thread = this_thread();
    const bool marked = queue.marked_damaged();
    const std::size_t before = found_.size();
    if (marked) tell(subject, "an operation found the queue damaged; since then every call says so", 0, {true, false, "checked and opened again"});
    // A queue that is marked refuses its locks: the parts are looked at when it is repaired, and then once more.
    const auto check = [&](Findings& findings) { return queue.check(thread, fd, findings); };
    const auto mend = [&](Findings& findings) { return queue.repair(thread, fd, findings); };
    if (!marked) return tell_found(subject, "lists, index and counts are made anew from the messages", check, mend);
    if (!repair_) return;
    struct Taker {
        static void take(void* self, const Found& one) { static_cast<std::vector<std::pair<std::string, Found>>*>(self)->emplace_back(one.what, one); }
    };
    std::vector<std::pair<std::string, Found>> mended;
    Findings findings(&Taker::take, &mended);
    bool done = static_cast<bool>(queue.repair(thread, fd, findings));
    Findings again([](void*, const Found&) {}, nullptr);
    done = done && queue.check(thread, fd, again) && again.count() == 0;
    for (auto& [text, one] : mended) tell(subject, std::move(text), one.bytes, {true, false, "lists, index and counts are made anew from the messages"}).messages_at_stake = one.messages;
    for (std::size_t at = before; at < found_.size(); ++at) found_[at].repaired = done;
}

// ---- semaphores and memory ----

void Checker::semaphore_set(const Subject& subject, const objects::SysvFile& file) {
    objects::SemaphoreSet set;
    if (auto opened = set.open(file.file.fd()); !opened) {
        if (opened.fault().errno_value == EACCES) return tell(subject, "this user may not look into it", 0, {}), void();
        const bool done = repair_ && objects::SemaphoreSet::mend_header(file.file.fd()) && set.open(file.file.fd());
        tell(subject, reason(opened.fault()), subject.bytes,
             {done || !repair_, done, done || !repair_ ? "the header is written anew from the file's length, if that allows it" : "the values can be read by --salvage"});
        if (!done) return;
    }
    objects::ProcessLives& lives = muster::cpp::system_v(domain_).lives;
    (void)lives.open(false);
    struct stat status {};
    platform::file_status(file.file.fd(), &status);
    const auto run = [&](bool mend) {
        return [&, mend](Findings& findings) { return set.check(this_thread(), lives, status.st_ino, mend, findings); };
    };
    tell_found(subject, "made anew from the sleepers' and processes' own records", run(false), run(true));
}

void Checker::segment(const Subject& subject, std::uint32_t index, const objects::SysvFile& file) {
    auto data = muster::cpp::system_v(domain_).registry.open_companion(SysvKind::shm, index, O_PATH);
    struct stat bytes {};
    if (!data || platform::file_status(data->fd(), &bytes) < 0) {
        tell(subject, "its bytes are gone: the file " + subject.file + ".data is missing", subject.bytes, {false, false, "`muster rm` removes what is left"});
        return;
    }
    objects::LifeWatch watch(core_, nullptr);
    auto status = objects::Segment::peek(file, watch);
    objects::SegmentControl control;
    const bool readable = platform::read_at(file.file.fd(), &control, sizeof control, 0) == static_cast<long>(sizeof control);
    const auto length = static_cast<std::uint64_t>(bytes.st_size);
    const bool sizes = readable && control.size_bytes != 0 && control.size_bytes <= control.data_bytes && control.data_bytes == length;
    const bool named = readable && control.data_inode == bytes.st_ino && control.data_device == bytes.st_dev;
    if (status && readable && control.size_bytes != 0 && control.size_bytes <= control.data_bytes && length < control.size_bytes && named) {
        // Its users would be killed by SIGBUS; what is gone cannot be had back.
        tell(subject, "its bytes were cut short: " + std::to_string(length) + " of " + std::to_string(control.size_bytes) + " are left", control.size_bytes - length,
             {false, false, "what is left can be read by `muster shm get` or --salvage"});
        return;
    }
    if (!status || !sizes || !named) {
        const std::string why = !status ? reason(status.fault()) : !named ? "it names another file as its bytes than the one that is there" : "its size is not that of its bytes";
        const bool done = repair_ && objects::Segment::mend_header(file.file.fd(), bytes) && objects::Segment::peek(file, watch);
        tell(subject, why, length, {done || !repair_, done, done || !repair_ ? "the header is written anew from the file of its bytes, which is as it was" : "its bytes can be read by --salvage"});
        if (!done) return;
    }
    objects::Segment segment;
    if (auto opened = segment.open(file); !opened) {
        if (opened.fault().errno_value != EACCES && opened.fault().errno_value != EIDRM) tell(subject, reason(opened.fault()), subject.bytes, {});
        return;
    }
    struct stat self {};
    platform::file_status(file.file.fd(), &self);
    const auto run = [&](bool mend) {
        return [&, mend](Findings& findings) { return segment.check(this_thread(), watch, self.st_ino, mend, findings); };
    };
    tell_found(subject, "made anew from the living processes", run(false), run(true));
}

// SOURCE glibc's sysdeps/nptl/internaltypes.h, struct new_sem of 64-bit machines. The value stands nowhere else.
void Checker::posix_semaphore(const std::string& name) {
    const Subject subject = subject_of("sem/" + name, "posix-sem:/" + name);
    struct stat status {};
    if (platform::file_status_at(core_.directory(), subject.file.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return;
    if (!S_ISREG(status.st_mode)) return tell(subject, "no plain file; sem_open would not open it", 0, {}), void();
    if (static_cast<std::uint64_t>(status.st_size) < sizeof(sem_t))
        return tell(subject, "too short for a semaphore of this machine's C library", subject.bytes, {false, false, "`muster rm` removes it"}), void();
    const auto file = open_file(subject.file);
    struct {
        std::uint32_t value, waiters;
        std::int32_t shared, pad;
    } copy{};
    if (file.fd() < 0 || platform::read_at(file.fd(), &copy, sizeof copy, 0) != static_cast<long>(sizeof copy)) return;
    if (copy.value > SEM_VALUE_MAX)
        tell(subject, "its value is none that a semaphore can have", sizeof copy.value, {false, false, "what it was is said nowhere else; `muster rm` removes it"});
#if defined(__GLIBC__)
    constexpr std::int32_t kShared = 128;
    if (copy.waiters > 1u << 22)
        tell(subject, "more threads are said to wait than there can be", 0, {false, false, "posting costs more than it need, nothing else"}).harmless = true;
    if (copy.shared != kShared)
        tell_mendable(subject, "it is not marked as shared: who waits in another process would not be woken", 0, "marked as every named semaphore is", [&] {
            return platform::write_at(file.fd(), &kShared, sizeof kShared, 8) == static_cast<long>(sizeof kShared);
        });
#endif
}

// Its bytes are the programs'; that it is a plain file is all there is to check.
void Checker::posix_memory(const std::string& name) {
    const Subject subject = subject_of("shm/" + name, "posix-shm:/" + name);
    struct stat status {};
    if (platform::file_status_at(core_.directory(), subject.file.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(status.st_mode))
        tell(subject, "no plain file; shm_open would not open it", 0, {});
}

std::vector<Finding> Checker::check() {
    queues();
    system_v();
    keys();  // afterwards: by then each object says what it is
    companions();
    for (const std::string& name : entries(core_, "sem"))
        if (wanted("sem/" + name)) posix_semaphore(name);
    for (const std::string& name : entries(core_, "shm"))
        if (wanted("shm/" + name)) posix_memory(name);
    hints();
    lives();
    limits();
    fifos();
    strangers();
    return std::move(found_);
}

}  // namespace cpp

Result<std::vector<Finding>> Domain::fsck(bool repair, std::string_view path) const {
    cpp::this_thread();
    return cpp::Checker(*this, repair, path).check();
}

}  // namespace muster
