#include "objects/lock_check.hpp"
#include <linux/futex.h>
#include <cstdio>
#include "platform/file.hpp"
#include "platform/futex.hpp"
#include "platform/process.hpp"
#include "sync/robust_lock.hpp"

namespace muster::objects {

std::int64_t count_mappings(std::uint32_t process_id, std::uint64_t inode) {
    char path[40];
    std::snprintf(path, sizeof path, "/proc/%u/maps", process_id);
    const platform::File maps(platform::open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    if (maps.fd() < 0) return -1;
    // SOURCE proc(5): "start-end perms offset device inode path". The fifth word of each line.
    std::int64_t found = 0;
    unsigned word = 0;
    std::uint64_t number = 0;
    bool any = false;
    char text[4096];
    for (;;) {
        const long got = platform::read_file(maps.fd(), text, sizeof text);
        if (got < 0) return -1;  // the process ended, or is another user's
        if (got == 0) return any ? found : -1;
        any = true;
        for (long i = 0; i < got; ++i) {
            const char c = text[i];
            if (c == '\n') {
                word = 0;
                number = 0;
            } else if (c == ' ' && word <= 4) {
                if (word == 4 && number == inode) ++found;
                ++word;
            } else if (word == 4 && c >= '0' && c <= '9') {
                number = number * 10 + static_cast<std::uint64_t>(c - '0');
            }
        }
    }
}

Vouched vouch_for(std::uint32_t thread_id, std::uint64_t inode) {
    if (thread_id == 0 || !platform::thread_exists(thread_id)) return Vouched::no;
    return count_mappings(thread_id, inode) == 0 ? Vouched::stranger : Vouched::yes;
}

LockVerdict judge_lock(const memory::ShmU32& word, const sync::Actor* actors, std::uint32_t actors_count, std::uint64_t inode) {
    constexpr int kLooks = 2000;  // a millisecond apart
    const std::uint32_t first = word.load_acquire();
    LockVerdict verdict{LockState::usable, first, 0};
    for (int look = 0; look < kLooks; ++look) {
        const std::uint32_t seen = word.load_acquire();
        if (seen == 0 || (seen & FUTEX_OWNER_DIED) != 0 || (seen & ~FUTEX_WAITERS) != (first & ~FUTEX_WAITERS)) return verdict;
        verdict.word = seen;
        if ((seen & sync::kHeldByActor) != 0) {
            const std::uint32_t number = seen & sync::kActorNumberMax;
            if (number >= actors_count) return verdict;  // nobody: the lock knows
            const std::uint32_t life = actors[number].life.load_acquire();
            if ((life & FUTEX_OWNER_DIED) != 0) return verdict;
            verdict.holder = life & FUTEX_TID_MASK;
        } else {
            verdict.holder = seen & FUTEX_TID_MASK;
            if (verdict.holder == 0 || !platform::thread_exists(verdict.holder)) return verdict;  // likewise
        }
        // Looked at for a while: between an actor's two stores it may look like nobody's.
        if (look > 20 && vouch_for(verdict.holder, inode) != Vouched::yes) {
            if (word.load_acquire() == seen) verdict.state = LockState::damaged;
            return verdict;
        }
        platform::sleep_ns(1'000'000);
    }
    verdict.state = LockState::busy;
    return verdict;
}

void settle_record_counts(const sync::Actor* actors, std::uint32_t actors_count, memory::ShmU32& high, memory::ShmU32& reserved) {
    constexpr std::uint32_t kOfAPage = 4096 / sizeof(sync::Actor);
    const auto highest_taken = [&](std::uint32_t below) {
        while (below > 0 && actors[below - 1].life.load_acquire() == 0) --below;
        return below;
    };
    std::uint32_t said = high.load_acquire();
    const std::uint32_t most = said < actors_count ? said : actors_count;
    if (said > actors_count || said > reserved.load_acquire()) {
        high.compare_exchange(said, highest_taken(most));
        // Whoever took one meanwhile, above what we found, had no need to raise the count.
        const std::uint32_t now = highest_taken(most);
        for (std::uint32_t seen = high.load_acquire(); seen < now;)
            if (high.compare_exchange(seen, now)) break;
    }
    const std::uint32_t used = high.load_acquire();
    if (const std::uint32_t pages = reserved.load_acquire(); pages > actors_count || pages < used) reserved.store_release((used + kOfAPage - 1) / kOfAPage * kOfAPage);
}

bool declare_orphaned(memory::ShmU32& word, std::uint32_t seen) {
    if (!word.compare_exchange(seen, FUTEX_OWNER_DIED | (seen & FUTEX_WAITERS))) return false;
    platform::futex_wake(word.address(), 1);
    return true;
}

}  // namespace muster::objects
