// Looking into a queue: peeking, checking it against its invariants, and rebuilding it from what the evidence says of its slots.
#include "objects/lock_check.hpp"
#include "objects/queue.hpp"
#include "objects/queue_acting.hpp"
#include "objects/queue_evidence.hpp"
#include "objects/queue_inline.hpp"
#include "platform/file.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

Outcome<> Queue::peek(platform::ThreadState& thread, int fd, bool all, Visit visit, void* visitor) {
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    Outcome<> result = drain();
    bool any = false;
    if (result) {
        const auto show = [&](std::uint32_t number, std::uint64_t key) {
            const std::uint32_t length = slot(number).length.load_relaxed();
            if (!is_length(length)) {
                result = damaged("a message in the queue's index is damaged");
                return false;
            }
            any = true;
            return visit(visitor, payload(number, length), length, key) && all;
        };
        auto walked = platform::done();
        if (typed_) {
            auto oldest_first = sorted_by_age();
            if (!oldest_first) result = oldest_first.fault();
            for (std::uint64_t i = 0; oldest_first && i < oldest_first->count; ++i)
                if (!show(oldest_first->numbers[i], slot(oldest_first->numbers[i]).key.load_relaxed())) break;
            if (oldest_first && oldest_first->numbers != nullptr) platform::unmap(oldest_first->numbers, oldest_first->bytes);
        } else {
            walked = index_.for_each(show);
        }
        if (!walked) result = damaged(walked.fault().rule);
    }
    me.unlock_both();
    if (!result) return result;
    if (auto good = usable(); !good) return good;
    return any ? platform::done() : Outcome<>(Fault{EAGAIN, "the queue is empty"});
}

Outcome<> Queue::look_at_sleepers(platform::ThreadState& thread, int fd, VisitSleeper visit, void* context) {
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    if (dead_actors()) reap_dead(fd);
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number) {
        const sync::Actor& sleeper = actor(number);
        const sync::ActorState state = sync::state_of(sleeper.word.load_acquire());
        if (sleeper.life.load_acquire() == 0 || (state != sync::ActorState::waiting && state != sync::ActorState::asleep)) continue;
        const bool sends = sleeper.kind.load_acquire() == static_cast<std::uint32_t>(ActorKind::sender);
        const auto kind = static_cast<Selector::Kind>(typed_ && !sends ? sleeper.selector_kind.load_relaxed() & kSelectorKindMask : 0);
        visit(context, {sleeper.process_id.load_relaxed(), sleeper.thread_id.load_relaxed(), sends, {kind, sleeper.selector.load_relaxed()},
                        sleeper.ticket.load_relaxed(), sleeper.since_ns.load_relaxed()});
    }
    me.unlock_both();
    return platform::done();
}

namespace {
constexpr std::uint64_t kUsualBytesMax = 16384;  // SOURCE MSGMNB of <linux/msg.h>
}

QueueView Queue::view() const {
    return {header_, inbox_, returned_, ring_mask_, slots_, typed_ ? nullptr : &index_, typed_ ? &types_ : nullptr, actors_.first, actors_.count,
            message_bytes_max_, inline_bytes_, region_stride_ != 0, header_->shared.lanes_reserved.load_relaxed(), lanes_offset_, slots_present()};
}

// Asks the kernel, from the end: a header that was lost knows of no slot, and looking at a page that is not there would make it.
std::uint32_t Queue::slots_present() const {
    constexpr std::uint64_t kPage = 4096, kPages = 2048;
    unsigned char present[kPages];
    const std::uint64_t begin = slots_offset_ & ~(kPage - 1), end = regions_offset_;
    for (std::uint64_t at = end; at > begin;) {
        const std::uint64_t from = at - begin > kPages * kPage ? at - kPages * kPage : begin;
        if (platform::system_call(SYS_mincore, mapping_.start() + from, at - from, present) != 0) return 0;
        for (std::uint64_t page = (at - from) / kPage; page-- > 0;) {
            if ((present[page] & 1) == 0) continue;
            const std::uint64_t slots = (from + (page + 1) * kPage - slots_offset_) / slots_.stride_bytes + 1;
            return slots < slots_.count ? static_cast<std::uint32_t>(slots) : slots_.count;
        }
        at = from;
    }
    return 0;
}

// The inode by which /proc shows who has the queue mapped.
std::uint64_t Queue::inode(int fd) const {
    struct stat status;
    if (fd >= 0 && platform::file_status(fd, &status) == 0) return status.st_ino;
    return header_->geometry.slots_inode;
}

// Locks that nobody holds, and records of nobody: without repair they are told, with it they are declared the dead's, and what is
// usual after a death follows. False: the locks cannot be had.
bool Queue::settle_holders(int fd, bool mend, Findings& findings) {
    const std::uint64_t file = inode(fd);
    bool usable = true;
    for (memory::ShmU32* word : {&header_->send_lock, &header_->receive_lock}) {
        const char* name = word == &header_->send_lock ? "senders'" : "receivers'";
        const LockVerdict lock = judge_lock(*word, actors_.first, actors_.count, file);
        if (lock.state == LockState::usable) continue;
        if (lock.state == LockState::busy) {
            findings.say({0, 0, false}, "thread %u holds the %s lock and has not let go of it for two seconds; what it guards cannot be looked at",
                         lock.holder, name);
            usable = false;
            continue;
        }
        findings.say({}, "the %s lock is held by nobody who could let go of it (0x%x)", name, lock.word);
        usable = (mend && declare_orphaned(*word, lock.word)) && usable;
    }
    const std::uint32_t high = header_->shared.actors_high.load_acquire(), reserved = header_->shared.actors_reserved.load_acquire();
    if (high > actors_.count || reserved > actors_.count || high > reserved || (typed_ && reserved == 0))  // a typed one has some from the start
        findings.say({}, "it says that %u records of threads were used and %u have memory, of %u", high, reserved, actors_.count);
    for (std::uint32_t number = 0; number < actors_.count && (number < high || number < reserved); ++number) {
        std::uint32_t life = actor(number).life.load_acquire();
        if (life == 0 || (life & FUTEX_OWNER_DIED) != 0) continue;
        const std::uint32_t thread_id = life & FUTEX_TID_MASK;
        if (vouch_for(thread_id, file) == Vouched::yes || actor(number).life.load_acquire() != life) continue;
        findings.say({}, "record %u says that thread %u waits or works here, which it does not", number, thread_id);
        if (mend) actor(number).life.compare_exchange(life, FUTEX_WAITERS | FUTEX_OWNER_DIED);
    }
    return usable;
}

// What one or a few stores keep, and what follows from elsewhere. Both locks held.
void Queue::check_header(std::uint64_t messages, std::uint64_t message_bytes, std::uint64_t last_sequence, Findings& findings) {
    const QueueSend& s = header_->send;
    const QueueReceive& r = header_->receive;
    const QueueReceivePublished& p = header_->received;
    const auto llu = [](std::uint64_t number) { return static_cast<unsigned long long>(number); };
    const std::uint64_t counted = header_->sent.sent.load_relaxed() - p.freed.load_relaxed();
    if (messages != counted) {
        const bool lost = messages < counted && counted - messages <= messages_max_;
        findings.say({0, lost ? static_cast<std::uint32_t>(counted - messages) : 0}, "the count says %llu messages, there are %llu", llu(counted), llu(messages));
    }
    if (const std::uint64_t bytes = header_->sent.sent_bytes.load_relaxed() - p.freed_bytes.load_relaxed(); typed_ && message_bytes != bytes)
        findings.say({}, "the count says %llu bytes, there are %llu", llu(bytes), llu(message_bytes));
    if (typed_ && header_->shared.bytes_max.load_relaxed() == 0 && messages != 0)
        findings.say({8, 0}, "%s", "it holds messages and says that it may hold none; how much it may hold is said nowhere else, and becomes what is usual");
    if (p.freed.load_relaxed() != p.drained.load_relaxed() - p.indexed.load_relaxed())
        findings.say({}, "%s", "the counts of messages that came and went contradict each other");
    // What was last seen of the other side only grows, towards what there is.
    const auto ahead = [](std::uint64_t seen, std::uint64_t now) { return static_cast<std::int64_t>(now - seen) < 0; };
    if (ahead(s.freed_seen.load_relaxed(), p.freed.load_relaxed()) || ahead(s.drained_seen.load_relaxed(), p.drained.load_relaxed()) ||
        (typed_ && ahead(s.freed_bytes_seen.load_relaxed(), p.freed_bytes.load_relaxed())))
        findings.say({}, "%s", "senders believe that more messages have left than did: more would fit in than may");
    if (last_sequence > s.sequence.load_relaxed() && last_sequence > p.promoted_sequence.load_relaxed())
        findings.say({}, "%s", "the next message would count as older than one that is there");
    if (s.filling.load_relaxed() != 0 || s.trimming.load_relaxed() != 0 || r.taking.load_relaxed() != 0)
        findings.say({}, "%s", "it says that somebody is in the middle of an operation; nobody is");
    const std::uint32_t flags = header_->shared.flags.load_relaxed();
    constexpr std::uint32_t kKnown = kQueuePolled | kQueueInEpoll | kQueueWatched | kQueueDamaged | kQueueRemoved;
    if ((flags & ~kKnown) != 0) findings.say({}, "it has flags that mean nothing (0x%x)", flags & ~kKnown);
    if (((flags & kQueueWatched) != 0) != (s.notify_kind.load_relaxed() != 0))
        findings.say({}, "%s", "whether somebody waits to be told of a message is said twice, and differently");
    if ((header_->object.mode.load_relaxed() & ~0777u) != 0) findings.say({}, "its mode is none (0%o)", header_->object.mode.load_relaxed());
    if (!typed_ && header_->object.removed.load_relaxed() > 1) findings.say({}, "%s", "it is neither there nor removed");
    check_sleepers(ActorKind::receiver, s.first_receiver, header_->sent.receivers_waiting.load_relaxed(), findings);
    check_sleepers(ActorKind::sender, r.first_sender, r.senders_waiting.load_relaxed(), findings);
}

void Queue::check_sleepers(ActorKind kind, const memory::ShmU32& first, std::uint32_t counted, Findings& findings) {
    const char* name = kind == ActorKind::receiver ? "receivers" : "senders";
    std::uint32_t asleep = 0, listed = 0;
    const std::uint32_t high = header_->shared.actors_high.load_acquire();
    const auto waits = [&](std::uint32_t number) {
        const sync::Actor& each = actor(number);
        const sync::ActorState state = sync::state_of(each.word.load_acquire());
        return each.life.load_acquire() != 0 && each.kind.load_acquire() == static_cast<std::uint32_t>(kind) &&
               (state == sync::ActorState::waiting || state == sync::ActorState::asleep);
    };
    for (std::uint32_t number = 0; number < high && number < actors_.count; ++number) asleep += waits(number) ? 1 : 0;
    bool broken = false;
    for (std::uint32_t at = first.load_relaxed(); at != 0 && !broken; at = actor(at - 1).next.load_relaxed()) {
        broken = at > actors_.count || at > high || ++listed > asleep || !waits(at - 1);
        if (broken) break;
    }
    if (broken || listed != asleep) findings.say({}, "the list of waiting %s is broken: %u wait", name, asleep);
    if (counted != asleep) findings.say({}, "%u %s are said to wait, %u do", counted, name, asleep);
}

Outcome<> Queue::check(platform::ThreadState& thread, int fd, Findings& findings) {
    if (dead_actors()) findings.say({}, "%s", "a thread died in the middle of an operation; its hold is released when the queue is next used");
    if (!settle_holders(fd, false, findings)) return platform::done();
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return begun;
    if (auto locked = me.lock_both(); !locked) return locked;
    const Outcome<> checked = check_locked(findings);
    me.unlock_both();
    if (checked && mapping_damaged_.load(std::memory_order_relaxed) != 0)  // relaxed: set by a handler on this thread
        return Fault{EBADMSG, "the queue's file was cut short or its memory is gone"};
    return checked ? platform::done() : Outcome<>(checked.fault());
}

namespace {
struct Teller {
    Queue::Tell tell;
    void* context;
    static void take(void* self, const Found& found) {
        const auto& to = *static_cast<Teller*>(self);
        to.tell(to.context, found.what, found.bytes);
    }
};
}  // namespace

Outcome<> Queue::check(platform::ThreadState& thread, int fd, Tell tell, void* context) {
    Teller teller{tell, context};
    Findings findings(&Teller::take, &teller);
    return check(thread, fd, findings);
}

Outcome<> Queue::repair(platform::ThreadState& thread, int fd, Tell tell, void* context) {
    Teller teller{tell, context};
    Findings findings(&Teller::take, &teller);
    return repair(thread, fd, findings);
}

Outcome<> Queue::check_locked(Findings& findings) {
    QueueEvidence evidence(view());
    if (auto gathered = evidence.gather(findings); !gathered) return gathered;
    std::uint64_t messages = 0, message_bytes = 0, last_sequence = 0;
    for (std::uint32_t number = 0; number < evidence.used(); ++number) {
        if (evidence.judge(number, &findings) != QueueEvidence::Verdict::message) continue;
        ++messages;
        message_bytes += slot(number).length.load_relaxed();
        const std::uint64_t sequence = slot(number).sequence.load_relaxed();
        if (sequence > last_sequence) last_sequence = sequence;
    }
    check_header(messages, message_bytes, last_sequence, findings);
    return platform::done();
}

Outcome<> Queue::repair(platform::ThreadState& thread, int fd, Findings& findings) {
    const std::uint32_t flags_before = header_->shared.flags.and_release(~kQueueDamaged);
    mapping_damaged_.store(0);
    const auto undone = [&](Fault fault) {
        header_->shared.flags.or_release(flags_before & kQueueDamaged);
        return fault;
    };
    settle_record_counts(actors_.first, actors_.count, header_->shared.actors_high, header_->shared.actors_reserved);
    if (!settle_holders(fd, true, findings)) return undone(Fault{EAGAIN, "a lock of the queue cannot be had"});
    Acting me(*this, thread);
    if (auto begun = me.begin(fd, ActorKind::keeper); !begun) return undone(begun.fault());
    if (auto locked = me.lock_both(); !locked) return undone(locked.fault());
    // Judged before anything is changed: what the dead hold is still theirs here, and comes back as a message.
    const Outcome<> repaired = repair_locked(fd, findings);
    wake_all();  // messages may have gone, or come back
    me.unlock_both();
    return repaired ? platform::done() : Outcome<>(undone(repaired.fault()));
}

Outcome<> Queue::repair_locked(int fd, Findings& findings) {
    using Verdict = QueueEvidence::Verdict;
    QueueSend& s = header_->send;
    QueueReceive& r = header_->receive;
    QueueReceivePublished& p = header_->received;
    s.filling.store_relaxed(0);
    s.trimming.store_relaxed(0);
    r.taking.store_relaxed(0);
    reap_dead(fd);
    QueueEvidence evidence(view());
    if (auto gathered = evidence.gather(findings); !gathered) return gathered;
    // Every slot becomes what it is found to be: a message, free, or in somebody's hands; from that all else follows.
    std::uint64_t message_bytes = 0, last_sequence = 0;
    std::uint32_t end = 0;
    for (std::uint32_t number = 0; number < evidence.used(); ++number) {
        Slot& here = slot(number);
        const Verdict verdict = evidence.judge(number, &findings);
        if (verdict == Verdict::message) {
            if (const std::uint64_t key = evidence.key_of(number); here.key.load_relaxed() != key) here.key.store_relaxed(key);
            here.state.store_release(slot_word(SlotState::indexed));
            message_bytes += here.length.load_relaxed();
            const std::uint64_t sequence = here.sequence.load_relaxed();
            if (sequence > last_sequence) last_sequence = sequence;
            if (!typed_)
                if (auto lane = prepare_lane(fd, here.key.load_relaxed()); !lane) return lane;
        } else if (verdict != Verdict::held) {
            here.state.store_release(slot_word(SlotState::free));
        }
        if (verdict == Verdict::message || verdict == Verdict::held) end = number + 1;
    }
    s.spare.store_relaxed(0);
    r.stack.store_relaxed(0);
    header_->sent.returned_head.store_relaxed(p.returned_tail.load_relaxed());
    s.fresh.store_relaxed(end);
    if (const std::uint32_t reserved = s.slots_reserved.load_relaxed(); reserved < end || reserved > slots_.count) s.slots_reserved.store_relaxed(end);
    for (std::uint32_t number = 0; number < end; ++number)
        if (slot_state(slot(number).state.load_relaxed()) == SlotState::free) push_returned(number);
    if (last_sequence > s.sequence.load_relaxed()) s.sequence.store_relaxed(last_sequence);
    if (p.promoted_sequence.load_relaxed() > s.sequence.load_relaxed()) p.promoted_sequence.store_relaxed(s.sequence.load_relaxed());
    p.drained.store_release(header_->sent.sent.load_relaxed());
    if (auto rebuilt = rebuild_index(); !rebuilt) return rebuilt;
    publish_freed();
    s.freed_seen.store_relaxed(p.freed.load_relaxed());
    s.drained_seen.store_relaxed(p.drained.load_relaxed());
    if (typed_) {
        if (header_->shared.bytes_max.load_relaxed() == 0 && p.indexed.load_relaxed() != 0)
            header_->shared.bytes_max.store_release(message_bytes > kUsualBytesMax ? message_bytes : kUsualBytesMax);
        p.freed_bytes.store_release(header_->sent.sent_bytes.load_relaxed() - message_bytes);
        s.freed_bytes_seen.store_relaxed(p.freed_bytes.load_relaxed());
    }
    recover_send();
    r.senders_waiting.store_release(relink(ActorKind::sender, r.first_sender, r.last_sender));
    constexpr std::uint32_t kKnown = kQueuePolled | kQueueInEpoll | kQueueWatched | kQueueDamaged | kQueueRemoved;
    header_->shared.flags.and_release(kKnown);
    if (s.notify_kind.load_relaxed() != 0) header_->shared.flags.or_release(kQueueWatched);
    else header_->shared.flags.and_release(~kQueueWatched);
    if ((header_->object.mode.load_relaxed() & ~0777u) != 0) header_->object.mode.and_release(0777);
    if (!typed_ && header_->object.removed.load_relaxed() > 1) header_->object.removed.store_release(0);
    return platform::done();
}

}  // namespace muster::objects
