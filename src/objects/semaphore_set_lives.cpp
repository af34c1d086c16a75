#include "objects/semaphore_set_lives.hpp"
#include <cstdio>
#include <new>
#include "platform/crash_point.hpp"
#include "platform/futex.hpp"
#include "platform/process.hpp"

namespace muster::objects {
using platform::Fault;
using platform::Outcome;

namespace {

constexpr memory::Format kFormat{kLivesMagic, kLivesFormat, kLivesFingerprint, kLivesBytes};
constexpr char kFileName[] = "lives";
constexpr std::uint64_t kExitingFlag = 4;  // PF_EXITING: past its last instruction

// What /proc says of a thread. SOURCE proc_pid_stat(5).
struct ThreadStatus {
    char state;
    std::uint64_t flags;
    std::uint64_t threads;
    std::uint64_t start;
};

std::uint64_t number_at(const char*& text) {
    while (*text == ' ' || *text == '-') ++text;
    std::uint64_t value = 0;
    for (; *text >= '0' && *text <= '9'; ++text) value = value * 10 + static_cast<std::uint64_t>(*text - '0');
    return value;
}

// 0, -ENOENT or -ESRCH there is none, or another negated errno value: /proc does not tell.
int read_status(const char* path, ThreadStatus& status) {
    platform::File file(platform::open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    if (file.fd() < 0) return file.fd();
    char text[1024];
    const long got = platform::read_file(file.fd(), text, sizeof text - 1);
    if (got <= 0) return got == 0 ? -ESRCH : static_cast<int>(got);
    text[got] = 0;
    const char* at = text;
    for (const char* look = text; *look != 0; ++look)
        if (*look == ')') at = look;  // the name before it may hold anything
    if (at[0] == 0 || at[1] == 0 || at[2] == 0) return -EIO;
    status.state = at[2];
    at += 3;
    for (int field = 4; field <= 22; ++field) {
        const std::uint64_t value = number_at(at);
        if (field == 9) status.flags = value;
        if (field == 20) status.threads = value;
        if (field == 22) status.start = value;
    }
    return 0;
}

bool has_ended(const ThreadStatus& status) {
    return status.state == 'Z' || status.state == 'X' || (status.flags & kExitingFlag) != 0;
}

// A lock among the threads of this process whose holder cannot be interrupted by the program's handlers.
class Busy {
public:
    Busy(std::atomic<std::uint32_t>& word, platform::ThreadState& thread) : word_(word), thread_(thread) {
        platform::enter_section(thread_);
        for (;;) {
            std::uint32_t seen = word_.load(std::memory_order_relaxed);
            if (seen == thread_.generation) platform::system_call(SYS_sched_yield);
            else if (word_.compare_exchange_weak(seen, thread_.generation, std::memory_order_acquire)) return;
        }
    }
    ~Busy() {
        word_.store(0, std::memory_order_release);
        platform::leave_section(thread_);
    }
    Busy(const Busy&) = delete;

private:
    std::atomic<std::uint32_t>& word_;
    platform::ThreadState& thread_;
};

}  // namespace

ProcessIdentity own_identity(platform::ThreadState& thread) {
    static std::atomic<std::uint32_t> known_generation{0};
    static std::atomic<std::uint64_t> known_start{0};
    if (known_generation.load(std::memory_order_acquire) != thread.generation) {
        ThreadStatus status{};
        known_start.store(read_status("/proc/self/stat", status) == 0 ? status.start : 0, std::memory_order_relaxed);
        known_generation.store(thread.generation, std::memory_order_release);
    }
    return {platform::process_id_of(thread), known_start.load(std::memory_order_relaxed)};
}

Vital ask_for(const ProcessIdentity& process) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/stat", process.pid);
    ThreadStatus status{};
    const int rc = read_status(path, status);
    if (rc == -ENOENT || rc == -ESRCH) {
        // The same answer comes from a /proc that is not mounted.
        return platform::system_call(SYS_kill, process.pid, 0) == -ESRCH || own_identity(platform::current_thread()).start != 0 ? Vital::gone : Vital::alive;
    }
    if (rc != 0) return platform::system_call(SYS_kill, process.pid, 0) == -ESRCH ? Vital::gone : Vital::alive;
    if (process.start != 0 && status.start != process.start) return Vital::gone;
    if (!has_ended(status)) return Vital::alive;
    if (status.threads <= 1) return Vital::gone;
    // The first thread has ended; the process lives as long as any other, or is just being killed.
    std::snprintf(path, sizeof path, "/proc/%u", process.pid);
    platform::File directory(platform::open_at(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
    bool any = false;
    for_each_entry(directory.fd(), "task", [&](const char* name) {
        char task[64];
        std::snprintf(task, sizeof task, "/proc/%u/task/%.20s/stat", process.pid, name);
        ThreadStatus one{};
        any = any || (read_status(task, one) == 0 && !has_ended(one));
        return !any;
    });
    return any ? Vital::dying : Vital::gone;
}

bool is_runnable(std::uint32_t thread_id) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/stat", thread_id);  // a thread's id leads to it, too
    ThreadStatus status{};
    return read_status(path, status) == 0 && (status.state == 'R' || status.state == 'D') && (status.flags & kExitingFlag) == 0;
}

Outcome<> ProcessLives::open(bool create) {
    if (is_open()) return platform::done();
    if (domain_.load(std::memory_order_acquire) == nullptr) return Fault{ENOENT, "no domain"};
    const Domain& domain = *domain_.load(std::memory_order_acquire);
    Busy busy(busy_, platform::current_thread());
    if (is_open()) return platform::done();
    auto opened = domain.open_object(kFileName);
    if (!opened && opened.fault().errno_value == ENOENT && create) {
        unsigned granted = 0;
        auto made = domain.create_nameless(0600, &granted);
        if (!made) return made.fault();
        auto mapped = memory::Mapping::create(made->fd(), kLivesBytes, 4096, &damage_);
        if (!mapped) return mapped.fault();
        memory::fill_header(mapped->header(), kFormat, kLivesBytes);
        mapped->publish_ready();
        // Its users are all who may make objects here.
        platform::change_mode(made->fd(), domain.shared() ? 0666 : 0600);
        auto published = domain.publish(made->fd(), kFileName);
        if (!published && published.fault().errno_value != EEXIST) return published;
        opened = domain.open_object(kFileName);
    }
    if (!opened) return opened.fault();
    auto mapped = memory::Mapping::open(opened->fd(), kFormat, &damage_);
    if (!mapped) return mapped.fault();
    // It stays mapped as long as the process lives.
    auto* kept = new (&kept_) memory::Mapping(std::move(*mapped));
    header_.store(reinterpret_cast<LivesHeader*>(kept->start()), std::memory_order_release);
    return platform::done();
}

memory::ShmU32* ProcessLives::word(std::uint32_t slot) const {
    LivesHeader* header = header_.load(std::memory_order_acquire);
    if (header == nullptr || slot >= kLifeSlots || slot >= header->high.load_acquire()) return nullptr;
    return reinterpret_cast<memory::ShmU32*>(reinterpret_cast<std::byte*>(header) + life_offset(slot));
}

bool ProcessLives::vouches(std::uint32_t slot, const ProcessIdentity& process) const {
    const memory::ShmU32* life = word(slot);
    if (life == nullptr) return false;
    const LifeSlot& owner = slot_at(slot);
    return (life->load_acquire() & FUTEX_TID_MASK) != 0 && owner.pid.load_acquire() == process.pid && owner.start.load_acquire() == process.start;
}

void ProcessLives::tell(std::uint32_t slot) const {
    memory::ShmU32* life = word(slot);
    if (life == nullptr) return;
    std::uint32_t told = 0;
    if (slot_at(slot).told.compare_exchange(told, 1)) platform::futex_wake(life->address(), INT32_MAX);
}

Outcome<> ProcessLives::reserve(int fd, std::uint32_t number) const {
    const std::uint64_t index_page = (kLifeSlotsOffset + number * sizeof(LifeSlot)) & ~4095ull;
    if (const int rc = platform::reserve_bytes(fd, index_page, 4096); rc < 0) return Fault{-rc, "the file system of the domain is full"};
    const std::uint64_t life_page = life_offset(number) & ~4095ull;
    if (const int rc = platform::reserve_bytes(fd, life_page, 4096); rc < 0) return Fault{-rc, "the file system of the domain is full"};
    return platform::done();
}

std::int64_t ProcessLives::find_own(const ProcessIdentity& self) const {
    const std::uint32_t high = header_.load(std::memory_order_acquire)->high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < kLifeSlots; ++number)
        if (slot_at(number).pid.load_acquire() == self.pid && slot_at(number).start.load_acquire() == self.start) return number;
    return -1;
}

// A slot for this process: a free one, or a dead one's.
Outcome<std::uint32_t> ProcessLives::claim(int fd, const ProcessIdentity& self) {
    if (const std::int64_t found = find_own(self); found >= 0) return static_cast<std::uint32_t>(found);
    LivesHeader& header = *header_.load(std::memory_order_acquire);
    for (std::uint32_t number = 0; number < kLifeSlots; ++number) {
        if (number >= header.high.load_acquire()) {
            if (auto got = reserve(fd, number); !got) return got.fault();
            for (std::uint32_t high = header.high.load_acquire(); high <= number;)
                if (header.high.compare_exchange(high, number + 1)) break;
        }
        LifeSlot& place = slot_at(number);
        std::uint32_t pid = place.pid.load_acquire();
        if (pid != 0 && pid != self.pid) {
            const ProcessIdentity owner{pid, place.start.load_acquire()};
            if (vouches(number, owner) || ask_for(owner) != Vital::gone) continue;
        }
        // Whoever still holds the former owner's number here finds another identity, and asks the kernel.
        if (!place.pid.compare_exchange(pid, self.pid)) continue;
        word(number)->store_release(FUTEX_WAITERS | FUTEX_OWNER_DIED);
        place.start.store_release(self.start);
        MUSTER_CRASH_POINT("semaphore.lives.claimed");
        return number;
    }
    return Fault{ENOSPC, "too many processes hold adjustments of semaphores"};
}

// Puts the word into the calling thread's robust list.
Outcome<> ProcessLives::arm_slot(platform::ThreadState& thread, int fd, std::uint32_t number) {
    constexpr long kWordBeforeNode = -32;  // glibc's, on 64-bit machines
    memory::ShmU32& life = *word(number);
    std::byte* pages = pages_.load(std::memory_order_acquire);
    if (pages == nullptr) {
        const long got = platform::map_private_zeroes(8192);
        if (got < 0 && got > -4096) return Fault{ENOMEM, "no memory to watch over this process"};
        pages = reinterpret_cast<std::byte*>(got);
        pages_.store(pages, std::memory_order_release);
    }
    const std::uint64_t offset = life_offset(number);
    const long mapped = platform::map_shared_over(pages, fd, offset & ~4095ull, 4096);
    if (mapped < 0 && mapped > -4096) return Fault{ENOMEM, "no memory to watch over this process"};
    slot_at(number).told.store_release(0);
    if (thread.robust->futex_offset != kWordBeforeNode) {
        // A thread of another kind of C library: its end is found by asking.
        own_slot_.store(number, std::memory_order_relaxed);
        return platform::done();
    }
    auto* node = reinterpret_cast<robust_list*>(pages + (static_cast<std::int64_t>(offset & 4095) - kWordBeforeNode));
    robust_list* first = thread.robust->list.next;
    node->next = first;
    // The C library finds a mutex's predecessor in the pointer before its node.
    auto* first_node = reinterpret_cast<robust_list*>(reinterpret_cast<std::uintptr_t>(first) & ~std::uintptr_t{1});
    // Until the word is in the list, the death notice is its witness: it would else vouch for a thread that died here.
    robust_list* before = platform::set_death_notice(thread, life.address());
    life.store_release(thread.thread_id | FUTEX_WAITERS);
    MUSTER_CRASH_POINT("semaphore.lives.vouched");
    if (first_node != &thread.robust->list) reinterpret_cast<robust_list**>(first_node)[-1] = node;
    *const_cast<robust_list* volatile*>(&thread.robust->list.next) = node;
    platform::restore_death_notice(thread, before);
    // Those who found the word marked have something better to sleep on now.
    platform::futex_wake(life.address(), INT32_MAX);
    return platform::done();
}

Outcome<std::uint32_t> ProcessLives::arm(platform::ThreadState& thread) {
    if (is_armed(thread)) return own_slot_.load(std::memory_order_relaxed);
    Busy busy(busy_, thread);
    if (is_armed(thread)) return own_slot_.load(std::memory_order_relaxed);
    if (!is_open()) return Fault{ENOSPC, "the domain has no file of lives"};
    const ProcessIdentity self = own_identity(thread);
    auto file = domain_.load(std::memory_order_acquire)->open_object(kFileName);
    if (!file) return file.fault();
    auto slot = claim(file->fd(), self);
    if (!slot) return slot.fault();
    if (auto armed = arm_slot(thread, file->fd(), *slot); !armed) return armed.fault();
    own_slot_.store(*slot, std::memory_order_relaxed);
    own_word_.store(word(*slot), std::memory_order_relaxed);
    armed_generation_.store(thread.generation, std::memory_order_release);
    MUSTER_CRASH_POINT("semaphore.lives.armed");
    return *slot;
}

std::uint32_t ProcessLives::dead_slots(bool free_them) const {
    LivesHeader* header = header_.load(std::memory_order_acquire);
    if (header == nullptr) return 0;
    std::uint32_t found = 0;
    const std::uint32_t high = header->high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < kLifeSlots; ++number) {
        std::uint32_t pid = slot_at(number).pid.load_acquire();
        const ProcessIdentity owner{pid, slot_at(number).start.load_acquire()};
        if (pid == 0 || vouches(number, owner) || ask_for(owner) != Vital::gone) continue;
        // Who claims it at this moment has put another process's number there.
        if (!free_them || slot_at(number).pid.compare_exchange(pid, 0)) ++found;
    }
    return found;
}

void ProcessLives::resume(platform::ThreadState& thread) {
    if (!is_open()) return;
    const std::uint32_t pid = platform::process_id_of(thread);
    const std::uint32_t high = header_.load(std::memory_order_acquire)->high.load_acquire();
    for (std::uint32_t number = 0; number < high && number < kLifeSlots; ++number)
        if (slot_at(number).pid.load_acquire() == pid) {
            if (slot_at(number).start.load_acquire() == own_identity(thread).start) (void)arm(thread);
            return;
        }
}

}  // namespace muster::objects
