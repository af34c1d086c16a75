// What this process has of shared memory segments: which are attached, where, in how many pieces.
//
// SOURCE shmop(2), mm/ and ipc/shm.c of the kernel: the number of attachments counts mappings. Unmapping the middle of one makes
// two, changing the protection of the middle three, a fork doubles them. So the calls that change mappings are told here, and
// the pieces are split (and never joined again) by the kernel's rules.
//
// One table a process, guarded by a lock among its threads; a signal handler that comes while its own thread forks may enter.
#pragma once
#include <atomic>
#include <cstdint>
#include "objects/segment.hpp"

namespace muster::objects {

class Attachments {
public:
    // `domain` is asked for when it is needed; it stays the same directory all the time.
    using DomainSource = platform::Outcome<Domain*> (*)(bool create);
    using RegistrySource = SysvRegistry& (*)(Domain& domain);
    constexpr Attachments(DomainSource domain, RegistrySource registry) : domain_source_(domain), registry_source_(registry) {}
    // For a process that has tables for several domains, one each; both must outlive this.
    Attachments(Domain& domain, SysvRegistry& registry) : Attachments(nullptr, nullptr) {
        domain_ = &domain;
        registry_ = &registry;
    }
    Attachments(const Attachments&) = delete;

    // shmat. Errors: EINVAL, EIDRM, EACCES, ENOMEM, EMFILE.
    platform::Outcome<void*> attach(int id, std::uintptr_t address, int flags);
    // shmdt. Errors: EINVAL.
    platform::Outcome<> detach(std::uintptr_t address);

    // Calls `act(segment)` for the control block of an attached segment of that id, the table held. False: none is attached.
    template <class Act>
    bool with_attached(int id, Act act) {
        if (first_address_.load(std::memory_order_relaxed) == kNowhere) return false;
        const Hold hold(*this);
        prepare_if_forked(hold.thread());
        std::uint32_t number = 0;
        Attached* found = find(id, number);
        if (found == nullptr) return false;
        act(found->segment, life_);
        return true;
    }

    // Whether a range may hold a piece: two loads, what munmap and its kin cost a process that has none attached.
    bool may_touch(std::uintptr_t start, std::size_t bytes) const {
        return start < last_address_.load(std::memory_order_relaxed) && bytes > 0 &&
               (start + bytes < start || start + bytes > first_address_.load(std::memory_order_relaxed));
    }
    // The calls on ranges that may: a result or a negated errno.
    long unmap(std::uintptr_t start, std::size_t bytes);
    long map_over(std::uintptr_t start, std::size_t bytes, int protection, int flags, int fd, std::int64_t offset);
    long protect(std::uintptr_t start, std::size_t bytes, int protection);
    long remap(std::uintptr_t start, std::size_t old_bytes, std::size_t new_bytes, int flags, std::uintptr_t wanted);

    // Around fork: the child is registered before it exists.
    void before_fork();
    void after_fork_in_parent();
    void after_fork_in_child();
    // The end of the process, as far as it is seen: segments that wait for their last detach go now.
    void leave();
    // Whether the descriptor is the library's own.
    bool is_life_descriptor(int fd) const {
        return fd >= 0 && (fd == life_fd_.load(std::memory_order_relaxed) || fd == child_fd_.load(std::memory_order_relaxed));
    }

private:
    static constexpr std::uintptr_t kNowhere = ~std::uintptr_t{0};
    static constexpr std::uint32_t kChunks = 12, kFirstChunk = 16;

    struct Attached {  // a segment
        Segment segment;
        std::uint32_t record = Segment::kNoRecord;
        std::uint32_t child_record = Segment::kNoRecord;
        std::uint32_t child_maps = 0;
        std::uint32_t pieces = 0;  // 0: the entry is free
    };
    struct Piece {
        std::uintptr_t start, end;
        std::uint64_t offset;   // bytes into the segment
        std::uint64_t attach;   // which attach it comes from
        std::uint32_t segment;  // number in the table
        std::uint32_t protection;
        bool holds(std::uintptr_t address) const { return address >= start && address < end; }
    };
    class Hold {
    public:
        explicit Hold(Attachments& table);
        ~Hold();
        Hold(const Hold&) = delete;
        platform::ThreadState& thread() const { return thread_; }
        // The lock stays held when this goes; only handlers may run again.
        void keep() { nested_ = true; }

    private:
        Attachments& table_;
        platform::ThreadState& thread_;
        bool nested_ = false;
    };

    platform::Outcome<> prepare(Domain& domain,
                                platform::ThreadState& thread);  // a life of this very image, all records under it
    void prepare_if_forked(platform::ThreadState& thread);
    template <class Act>
    void for_each_attached(Act act);
    Attached* entry(std::uint32_t number) const;
    Attached* find(int id, std::uint32_t& number) const;
    platform::Outcome<std::uint32_t> open_segment(Domain& domain, SysvRegistry& registry, int id, platform::ThreadState& thread);
    platform::Outcome<long> map_data(const SysvRegistry& registry, const Segment& segment, std::uintptr_t address, int flags);
    bool make_room(std::uint32_t more);
    void add_piece(const Piece& piece);
    void drop_piece(std::uint32_t at);
    void cut(std::uintptr_t start, std::uintptr_t end, platform::ThreadState& thread);
    std::uintptr_t protected_until(std::uintptr_t start, std::uintptr_t end, int protection) const;
    void recount(std::uint32_t number, MapsChange change, platform::ThreadState& thread);
    void update_range();

    platform::Outcome<Domain*> find_domain() const {
        return domain_ != nullptr ? platform::Outcome<Domain*>(domain_) : domain_source_(false);
    }
    SysvRegistry& registry_of(Domain& domain) const { return registry_ != nullptr ? *registry_ : registry_source_(domain); }

    DomainSource domain_source_;
    RegistrySource registry_source_;
    Domain* domain_ = nullptr;
    SysvRegistry* registry_ = nullptr;
    std::atomic<std::uint64_t> holder_{0};  // generation << 32 | thread id
    std::uint32_t forking_ = 0;             // the holder is between before_fork and after_fork
    std::uint32_t generation_ = 0;          // of the process that the records are of
    Life life_;
    Life child_life_;
    std::atomic<int> life_fd_{-1}, child_fd_{-1};
    Attached* chunks_[kChunks] = {};
    std::uint32_t entries_ = 0;
    Piece* pieces_ = nullptr;
    std::uint32_t pieces_count_ = 0, pieces_room_ = 0;
    std::uint64_t attaches_ = 0;
    std::atomic<std::uintptr_t> first_address_{kNowhere}, last_address_{0};
};

}  // namespace muster::objects
