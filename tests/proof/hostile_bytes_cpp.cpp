// The objects of hostile_bytes_test met through the C++ library, its listing and its checker: opened anew each time, by a domain that was
// opened anew. Calls return errors; nothing is thrown.
#include <unistd.h>
#include <cstdio>
#include "muster/domain.hpp"
#include "muster/message_queue.hpp"
#include "muster/segment.hpp"
#include "muster/semaphore_set.hpp"
#include "muster/typed_queue.hpp"
#include "proof/hostile_bytes_sysv.hpp"

namespace muster::test::hostile {
namespace {

class ThroughCpp final : public Subject {
public:
    ThroughCpp(std::unique_ptr<Subject> staged, const std::string& domain, const std::string& kind)
        : Subject(staged->name() + ", in C++"), staged_(std::move(staged)), domain_(domain), kind_(kind) {
        files = std::move(staged_->files);
        tables = staged_->tables;
        also_written = staged_->also_written;
        locks = staged_->locks;
        actors_at = staged_->actors_at, actors = staged_->actors;
        interesting = staged_->interesting;
    }
    void begin(Met) override {
        for (const auto& file : files)
            if (kind_ != "msg" || file == files[0]) file->keep();  // a queue's second file with a second name is refused
    }
    void meet(Journal& j, Met) override {
        meet_it(j);
        // What is damaged may lose its names: to the next look-up of its key, with its last attachment.
        bool named = kind_ == "mq" || access(key_path().c_str(), F_OK) == 0;
        for (const auto& file : files) named = named && access(file->path().c_str(), F_OK) == 0;
        if (named) return;
        for (const auto& file : files) file->name_again(file->path()), file->restore();
        if (kind_ != "mq") files[0]->name_again(key_path());
    }

private:
    void meet_it(Journal& j) {
        auto domain = Domain::open(domain_);
        if (!domain) return;
        const Key key(SysvSubject::kKey);
        if (kind_ == "mq") meet_queue(j, *domain);
        else if (kind_ == "msg") meet_typed(j, *domain, key);
        else if (kind_ == "sem") meet_set(j, *domain, key);
        else meet_segment(j, *domain, key);
        if (j.once_in(4)) tell(j, "Domain::fsck", domain->fsck(false, files[0]->path()));
        if (j.once_in(8)) tell(j, "Domain::fsck --repair", domain->fsck(true, files[0]->path()));
        if (j.once_in(16)) tell(j, "Domain::list", domain->list());
        if (j.once_in(32)) tell(j, "Domain::gc", domain->gc(false));
    }
    std::string key_path() const {
        char key[32];
        std::snprintf(key, sizeof key, "-%08x", static_cast<unsigned>(SysvSubject::kKey));
        return domain_ + "/key/" + kind_ + key;
    }
    template <class T>
    static bool tell(Journal& j, const char* name, const Result<T>& result) {
        j.calling(name);
        j.judge(result ? 0 : -1, result ? 0 : result.error().errno_value(),
                {EAGAIN, EBADMSG, EIDRM, EINVAL, ENOENT, EACCES, EPERM, ENOSPC, ENOMEM, EMSGSIZE, E2BIG, ERANGE});
        return static_cast<bool>(result);
    }
    static void meet_queue(Journal& j, const Domain& domain) {
        auto queue = MessageQueue::open(domain, "/victim");
        if (!tell(j, "MessageQueue::open", queue)) return;
        tell(j, "MessageQueue::send", queue->try_send("text", 3));
        for (int n = 0; n < 2; ++n) tell(j, "MessageQueue::receive", queue->try_receive());
        tell(j, "MessageQueue::status", queue->status());
        tell(j, "MessageQueue::waiters", queue->waiters());
        for (int n = 0; n < 3; ++n) tell(j, "MessageQueue::receive", queue->try_receive());
    }
    static void meet_typed(Journal& j, const Domain& domain, Key key) {
        auto queue = TypedQueue::open(domain, key);
        if (!tell(j, "TypedQueue::open", queue)) return;
        tell(j, "TypedQueue::send", queue->try_send("text", 3));
        tell(j, "TypedQueue::peek", queue->peek(Selector::any()));
        tell(j, "TypedQueue::peek_all", queue->peek_all());
        tell(j, "TypedQueue::receive", queue->try_receive(Selector::up_to(4)));
        tell(j, "TypedQueue::receive", queue->try_receive());
        tell(j, "TypedQueue::status", queue->status());
        tell(j, "TypedQueue::waiters", queue->waiters());
        tell(j, "TypedQueue::set_bytes_max", queue->set_bytes_max(9000));
        for (int n = 0; n < 3; ++n) tell(j, "TypedQueue::receive", queue->try_receive());
    }
    static void meet_set(Journal& j, const Domain& domain, Key key) {
        auto set = SemaphoreSet::open(domain, key);
        if (!tell(j, "SemaphoreSet::open", set)) return;
        tell(j, "SemaphoreSet::operate", set->try_operate({{1, 1}, {2, -1}}));
        tell(j, "SemaphoreSet::hold", set->try_hold(2));
        tell(j, "SemaphoreSet::values", set->values());
        tell(j, "SemaphoreSet::waiters", set->waiters());
        tell(j, "SemaphoreSet::holders", set->holders());
        tell(j, "SemaphoreSet::status", set->status());
        tell(j, "SemaphoreSet::set", set->set(1, 3));
    }
    static void meet_segment(Journal& j, const Domain& domain, Key key) {
        auto segment = muster::Segment::open(domain, key);
        if (!tell(j, "Segment::open", segment)) return;
        auto attached = segment->attach();
        if (tell(j, "Segment::attach", attached) && attached->size() >= 20000)
            for (std::size_t byte = 0; byte < 20000; byte += 1999) attached->data()[byte] = std::byte{1};
        tell(j, "Segment::status", segment->status());
        tell(j, "Segment::users", segment->users());
    }
    std::unique_ptr<Subject> staged_;
    std::string domain_, kind_;
};

}  // namespace

std::unique_ptr<Subject> through_cpp(std::unique_ptr<Subject> staged, const std::string& domain, const std::string& kind) {
    return std::make_unique<ThroughCpp>(std::move(staged), domain, kind);
}

}  // namespace muster::test::hostile
