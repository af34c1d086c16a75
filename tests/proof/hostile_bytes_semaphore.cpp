// Semaphore sets, and the domain's file of lives, for hostile_bytes_test.
#include <fcntl.h>
#include <signal.h>
#include "objects/semaphore_set_layout.hpp"
#include "proof/hostile_bytes_sysv.hpp"

namespace muster::test::hostile {
namespace {

using objects::SemaphoreHeader;
constexpr int kSemaphores = 4;

class Set final : public SysvSubject {
public:
    Set(const std::string& domain, const std::string& state, bool lives)
        : SysvSubject(lives ? "file of lives" : "semaphore set, " + state, domain, "sem", false) {
        stage([&] {
            const int id = library().semget(kKey, kSemaphores, IPC_CREAT | IPC_EXCL | 0600);
            unsigned short values[kSemaphores] = {0, 3, 100, 0};
            return library().semctl(id, 0, SETALL, values) == 0 ? id : -1;
        });
        std::vector<Child> sleepers;
        for (unsigned short n = 0; n < 3 && state != "values"; ++n)
            sleepers.emplace_back([&, n] {
                // One that holds with undo and waits, one with several operations, one of six that needs a page of its own.
                sembuf hold{2, -5, SEM_UNDO};
                (void)library().semop(id_, &hold, 1);
                sembuf wait[6] = {{0, -1, 0}, {1, -1, SEM_UNDO}, {2, 0, 0}, {1, -1, 0}, {2, -1, 0}, {3, 1, 0}};
                (void)library().semop(id_, wait, n == 0 ? 1 : n == 1 ? 2 : 6);
            });
        open_files();
        ImageFile& file = *files[0];
        const auto header = file.get<SemaphoreHeader>(0);
        for (std::uint32_t n = 0; n < sleepers.size(); ++n) wait_for_sleeper(file, header.actors_offset, n, sleepers[n]);
        if (state == "the dead") {
            for (Child& sleeper : sleepers) sleeper.kill(SIGKILL);
            sleepers.clear();
            for (std::uint32_t n = 0; n < 3; ++n) put_dead_actor(file, header.actors_offset, n);
            file.put(offsetof(SemaphoreHeader, lock), kOwnerDied | kNoSuchThread);
            // A change that was committed and not yet applied.
            const auto change = file.get<std::uint32_t>(offsetof(SemaphoreHeader, change));
            const std::uint64_t first = sizeof(SemaphoreHeader);
            file.put(first + offsetof(objects::Semaphore, staged), objects::with_value(file.get<std::uint64_t>(first), 2));
            file.put(first + offsetof(objects::Semaphore, stage), change);
            file.put(offsetof(SemaphoreHeader, staged), std::uint32_t{1});
            file.put(offsetof(SemaphoreHeader, state), objects::kJournalCommitted);
        } else {
            stop_sleepers(file, header.actors_offset, sleepers);
        }
        name_tables(header);
        if (!lives) return;
        files.push_back(std::make_unique<ImageFile>(domain + "/lives"));
        tables = {{"lives header", 1, 0, sizeof(objects::LivesHeader)},
                  {"life slots", 1, objects::kLifeSlotsOffset, 6 * sizeof(objects::LifeSlot)},
                  {"life words", 1, objects::kLifePagesOffset + 4096 - 24, 24},
                  {"more life words", 1, objects::kLifePagesOffset + 8192 - 24, 24}};
        locks.clear();
    }

    void meet(Journal& j, Met) override {
        const Library& l = library();
        static constexpr std::initializer_list<int> operating = {EINVAL, EIDRM, EAGAIN, ENOMEM, EACCES, ERANGE, EFBIG, ENOSPC};
        static constexpr std::initializer_list<int> controlling = {EINVAL, EIDRM, EACCES, ERANGE, ENOMEM, ENOSPC, EPERM};
        const auto operate = [&](std::initializer_list<sembuf> operations) {
            sembuf copy[8];
            std::copy(operations.begin(), operations.end(), copy);
            j.call("semop", operating, [&] { return l.semop(id_, copy, operations.size()); });
        };
        operate({{1, 1, IPC_NOWAIT}});
        operate({{0, -1, IPC_NOWAIT}});
        operate({{1, -1, IPC_NOWAIT}, {3, 1, IPC_NOWAIT}});
        operate({{2, -1, IPC_NOWAIT | SEM_UNDO}});
        operate({{0, 1, IPC_NOWAIT | SEM_UNDO}, {3, 0, IPC_NOWAIT}, {1, 1, IPC_NOWAIT | SEM_UNDO}});
        j.call("semctl GETVAL", controlling, [&] { return l.semctl(id_, 1, GETVAL); });
        if (j.once_in(4)) {
            unsigned short values[65536];
            for (const int command : {GETPID, GETNCNT, GETZCNT}) j.call("semctl GET", controlling, [&] { return l.semctl(id_, 0, command); });
            if (j.call("semctl GETALL", controlling, [&] { return l.semctl(id_, 0, GETALL, values); }) == 0)
                j.call("semctl SETALL", controlling, [&] { return l.semctl(id_, 0, SETALL, values); });
            j.call("semctl SETVAL", controlling, [&] { return l.semctl(id_, 0, SETVAL, 3); });
            semid_ds state{};
            if (j.call("semctl IPC_STAT", controlling, [&] { return l.semctl(id_, 0, IPC_STAT, &state); }) == 0)
                j.call("semctl IPC_SET", controlling, [&] { return l.semctl(id_, 0, IPC_SET, &state); });
        }
        if (j.once_in(64)) {
            semid_ds state{};
            seminfo info{};
            j.call("semctl SEM_STAT", controlling, [&] { return l.semctl(id_ % 32768, 0, SEM_STAT, &state); });
            j.call("semctl SEM_INFO", {EINVAL}, [&] { return l.semctl(0, 0, SEM_INFO, &info); });
            j.call("semctl IPC_INFO", {EINVAL}, [&] { return l.semctl(0, 0, IPC_INFO, &info); });
            keep_names();
            j.call("semget", {ENOENT, EACCES, EINVAL, ENOSPC, ENOMEM}, [&] { return l.semget(kKey, 0, 0); });
            const timespec brief{0, 500'000};
            sembuf down{0, -30000, 0}, zero{2, 0, SEM_UNDO};
            j.call("semtimedop", operating, [&] { return l.semtimedop(id_, &down, 1, &brief); });
            j.call("semtimedop", operating, [&] { return l.semtimedop(id_, &zero, 1, &brief); });
            names_again();
        }
        operate({{3, -1, IPC_NOWAIT | SEM_UNDO}});
        if (j.once_in(128)) {
            keep_names();
            j.call("semctl IPC_RMID", {EINVAL, EIDRM, EPERM}, [&] { return l.semctl(id_, 0, IPC_RMID); });
            names_again();
        }
    }
    void look(Journal& j) override {
        semid_ds state{};
        j.call("semctl IPC_STAT", {EINVAL, EIDRM, EACCES}, [&] { return library().semctl(id_, 0, IPC_STAT, &state); });
    }

private:
    void name_tables(const SemaphoreHeader& h) {
        tables = {{"header", 0, 0, sizeof(SemaphoreHeader)},
                  {"semaphores", 0, sizeof(SemaphoreHeader), kSemaphores * sizeof(objects::Semaphore)},
                  {"log of adjustments", 0, h.logs_offset, 32},
                  {"log of the served", 0, h.logs_offset + offsetof(objects::SemaphoreLogs, given), 16},
                  {"actors", 0, h.actors_offset, 4 * sizeof(sync::Actor)},
                  {"waiters", 0, h.waiters_offset, 4 * sizeof(objects::SemaphoreWaiter)},
                  {"a vector's page", 0, h.vectors_offset + 2 * 4096, 64},
                  {"undo records", 0, h.undos_offset, 4 * h.undo_stride_bytes}};
        locks = {{0, offsetof(SemaphoreHeader, lock)}};
        actors_at = h.actors_offset, actors = h.actors;
        interesting = {h.semaphores, h.actors, h.undos, h.undo_stride_bytes, h.logs_offset, h.actors_offset, objects::kLogEntriesMax, 500};
    }
};

}  // namespace

std::unique_ptr<Subject> semaphore_subject(const std::string& domain, const std::string& state) { return std::make_unique<Set>(domain, state, false); }
std::unique_ptr<Subject> lives_subject(const std::string& domain) { return std::make_unique<Set>(domain, "sleepers and holders", true); }

}  // namespace muster::test::hostile
