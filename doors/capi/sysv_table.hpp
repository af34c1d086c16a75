// The System V objects of one kind that this process has mapped, by identifier.
//
// A table by index leads to an open object in two loads and without a lock. Its record stays in the address space for good
// when the object is given up: a thread that comes late finds another identifier there, or no references left, and asks anew.
#pragma once
#include <sys/single_threaded.h>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <new>
#include "objects/permission.hpp"
#include "objects/sysv_registry.hpp"
#include "platform/file.hpp"
#include "platform/local_atomic.hpp"
#include "private_lock.hpp"
#include "process_registry.hpp"
#include "sysv_credentials.hpp"

namespace muster::capi {

// `Object` has: object(), the header; permission(), permission_changes(); open(file, registry).
template <class Object>
struct OpenSysv {
    Object object;
    std::atomic<int> id{-1};
    std::atomic<std::uint32_t> references{0};  // the table's and those of calls under way
    std::atomic<std::uint64_t> rights{0};      // credential_changes << 32 | permission_changes << 4 | what is allowed | 1
    OpenSysv* next_free = nullptr;

    bool is_live() const { return objects::SysvRegistry::is_live(object.object(), id.load(std::memory_order_acquire)); }

    // Whether the effective user may do it: objects::kMayRead, kMayWrite. SOURCE ipcperms() of the kernel: at every call.
    [[gnu::always_inline]] inline bool has_rights(std::uint32_t wanted) {
        const std::uint64_t known = rights.load(std::memory_order_relaxed);
        if (__builtin_expect(((known ^ numbers()) & ~std::uint64_t{15}) == 0, 1)) return (wanted & ~known & 6) == 0;
        return ask_rights(wanted);
    }

private:
    std::uint64_t numbers() const {
        return static_cast<std::uint64_t>(credential_changes.load(std::memory_order_acquire)) << 32 | (object.permission_changes() & 0xfffffffu) << 4;
    }
    __attribute__((noinline, cold)) bool ask_rights(std::uint32_t wanted) {
        const std::uint64_t before = numbers();  // asked again if either changes meanwhile
        const objects::Permission permission = object.permission();
        std::uint64_t granted = 1;
        if (permission.allows(objects::kMayRead)) granted |= objects::kMayRead;
        if (permission.allows(objects::kMayWrite)) granted |= objects::kMayWrite;
        if (before >> 32 != kCredentialsDiffer) rights.store(before | granted, std::memory_order_relaxed);
        return (wanted & ~granted & 6) == 0;
    }
};

// `give_up_object` ends the object's mapping once nobody uses the record.
template <class Object, objects::SysvKind kKind, void (*give_up_object)(Object&)>
class SysvTable {
public:
    using Open = OpenSysv<Object>;

    // An object held for the length of a call.
    class Hold {
    public:
        Hold() = default;
        Hold(SysvTable& table, Open* open) : table_(&table), open_(open) {}
        Hold(Hold&& o) noexcept : table_(o.table_), open_(o.open_) { o.open_ = nullptr; }
        Hold& operator=(Hold&&) = delete;
        ~Hold() {
            if (open_ != nullptr) table_->release(open_);
        }
        explicit operator bool() const { return open_ != nullptr; }
        Open* operator->() const { return open_; }
        Open& operator*() const { return *open_; }

    private:
        SysvTable* table_ = nullptr;
        Open* open_ = nullptr;
    };

    // The object's record without holding it, for what may meet its end at any instant.
    Open* glance(int id) const { return places_[objects::sysv_index(id)].load(std::memory_order_acquire); }

    // The object of that identifier if this process has it open; it may have been removed.
    [[gnu::always_inline]] inline Hold hold_known(int id) {
        std::atomic<Open*>& place = places_[objects::sysv_index(id)];
        for (;;) {
            Open* open = place.load(std::memory_order_acquire);
            if (open == nullptr || open->id.load(std::memory_order_acquire) != id) return {};
            std::uint32_t count = open->references.load(std::memory_order_relaxed);
            // A handler may take the object out of the table, and the last reference with it, at any instant.
            if (count == 0) continue;
            const bool counted = __libc_single_threaded ? platform::local_compare_exchange(open->references, count, count + 1)
                                                        : open->references.compare_exchange_weak(count, count + 1, std::memory_order_acquire);
            if (__builtin_expect(!counted, 0)) continue;
            if (place.load(std::memory_order_acquire) == open && open->id.load(std::memory_order_acquire) == id) return Hold(*this, open);
            release(open);
        }
    }

    // The object of that identifier. Errors: EINVAL there is none (any more), EACCES its file cannot be opened, ENOMEM, EMFILE.
    platform::Outcome<Hold> hold(int id) {
        if (id < 0) return platform::Fault{EINVAL};
        {
            Hold known = hold_known(id);
            if (known && known->is_live()) return Hold(std::move(known));
            if (known) {
                if (take_out(objects::sysv_index(id), known.operator->())) release(known.operator->());
                return platform::Fault{EINVAL, "the object was removed"};
            }
        }
        auto names = process_registry(false);
        if (!names) return platform::Fault{EINVAL, "there is no such object"};
        auto file = (*names)->open(kKind, id);
        if (!file) return platform::Fault{file.fault().errno_value == EIDRM ? EINVAL : file.fault().errno_value};
        Open* open = make();
        if (open == nullptr) return platform::Fault{ENOMEM};
        if (auto mapped = open->object.open(*file, **names); !mapped) {
            const int why = mapped.fault().errno_value;
            discard(open);
            return platform::Fault{why == EBADMSG ? EINVAL : why, mapped.fault().rule};
        }
        open->references.fetch_add(1, std::memory_order_relaxed);  // the table's and ours
        enter(open, id);
        sweep();
        return Hold(*this, open);
    }

    // Removes an object that cannot be opened; 0 or the errno of IPC_RMID.
    static int discard_unopened(int id, int why) {
        if (why != EINVAL || id < 0) return why == EACCES ? EPERM : why;
        auto names = process_registry(false);
        if (!names) return EINVAL;
        auto gone = (*names)->discard(kKind, id);
        return gone ? 0 : gone.fault().errno_value == EACCES ? EPERM : gone.fault().errno_value;
    }

    // A record for an object that is being made; enter() or discard() follows.
    Open* make() {
        const PrivateLock::Hold locked(lock_);
        Open* open = nullptr;
        if (free_count_ > kFreeKept) {
            open = oldest_free_;
            oldest_free_ = open->next_free;
            if (oldest_free_ == nullptr) youngest_free_ = nullptr;
            --free_count_;
            open->object.~Object();  // with what give_up_object had left of its addresses
        } else {
            if (chunk_left_ < sizeof(Open)) {
                constexpr std::size_t kChunkBytes = 1 << 16;
                const long memory = platform::map_private_zeroes(kChunkBytes);
                if (memory < 0 && memory > -4096) return nullptr;
                chunk_ = reinterpret_cast<std::byte*>(memory);
                chunk_left_ = kChunkBytes;
            }
            open = reinterpret_cast<Open*>(chunk_);
            chunk_ += sizeof(Open);
            chunk_left_ -= sizeof(Open);
        }
        new (open) Open();
        open->references.store(1, std::memory_order_relaxed);
        return open;
    }
    // Nobody has seen it: its addresses need not be kept for those who come late.
    void discard(Open* open) {
        if (open == nullptr) return;
        open->object.~Object();
        new (&open->object) Object();
        release(open);
    }
    void enter(Open* open, int id) {
        open->id.store(id, std::memory_order_release);
        Open* before = places_[objects::sysv_index(id)].exchange(open, std::memory_order_acq_rel);
        if (before != nullptr) release(before);
    }
    // After a removal.
    void forget(int id) {
        Hold held = hold_known(id);
        if (held && take_out(objects::sysv_index(id), held.operator->())) release(held.operator->());
    }

    [[gnu::always_inline]] inline void release(Open* open) {
        const bool last = __libc_single_threaded ? platform::local_decrement(open->references)
                                                 : open->references.fetch_sub(1, std::memory_order_acq_rel) == 1;
        if (__builtin_expect(last, 0)) give_up(open);
    }

private:
    // Takes an object out of the table; the table's reference goes to the caller.
    bool take_out(std::uint32_t index, Open* expected) {
        return places_[index].compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel);
    }
    // The last reference is gone. The youngest records are left alone for a while: a thread may just be looking at one.
    __attribute__((noinline, cold)) void give_up(Open* open) {
        open->id.store(-1, std::memory_order_release);
        give_up_object(open->object);
        const PrivateLock::Hold locked(lock_);
        open->next_free = nullptr;
        (youngest_free_ != nullptr ? youngest_free_->next_free : oldest_free_) = open;
        youngest_free_ = open;
        ++free_count_;
    }
    // A few of those that others removed are given up each time one is opened.
    void sweep() {
        for (unsigned looked = 0; looked < 8; ++looked) {
            const std::uint32_t index = next_swept_.fetch_add(1, std::memory_order_relaxed) % objects::kSysvIndexes;
            Open* open = places_[index].load(std::memory_order_acquire);
            if (open == nullptr) continue;
            Hold held = hold_known(open->id.load(std::memory_order_acquire));
            if (held && !held->is_live() && take_out(index, open)) release(open);
        }
    }

    // So many objects have to be given up before a record is used again: far more than any thread can be late.
    static constexpr unsigned kFreeKept = 4096;
    std::atomic<Open*> places_[objects::kSysvIndexes]{};
    PrivateLock lock_;
    Open* oldest_free_ = nullptr;
    Open* youngest_free_ = nullptr;
    unsigned free_count_ = 0;
    std::byte* chunk_ = nullptr;
    std::size_t chunk_left_ = 0;
    std::atomic<std::uint32_t> next_swept_{0};
};

}  // namespace muster::capi
