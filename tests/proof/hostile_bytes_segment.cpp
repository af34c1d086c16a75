// Segments' control files, and the hints about which identifiers are used, for hostile_bytes_test.
#include <algorithm>
#include "objects/segment_layout.hpp"
#include "proof/hostile_bytes_sysv.hpp"

namespace muster::test::hostile {
namespace {

constexpr std::size_t kBytes = 20000;

class Segment final : public SysvSubject {
public:
    Segment(const std::string& domain, const std::string& state) : SysvSubject("segment, " + state, domain, "shm", true) {
        stage([&] {
            const int id = library().shmget(kKey, kBytes, IPC_CREAT | IPC_EXCL | 0600);
            return id >= 0 && library().shmat(id, nullptr, 0) != reinterpret_cast<void*>(-1) ? id : -1;
        });
        // That one's attachment is over; these two have it attached still.
        for (int n = 0; n < 2 && state != "left by the dead"; ++n) {
            Shared<std::atomic<bool>> attached;
            users_.emplace_back([&] {
                (void)library().shmat(id_, nullptr, 0);
                attached->store(true);
                for (;;) pause();
            });
            require(eventually([&] { return attached->load(); }) ? 0 : 1, "an attachment");
        }
        open_files();
        if (state == "left by the dead")
            files[0]->put(offsetof(objects::SegmentControl, lock), kOwnerDied | kNoSuchThread);
        tables = {{"control", 0, 0, sizeof(objects::SegmentControl)}, {"attachment records", 0, sizeof(objects::SegmentControl), 5 * sizeof(objects::AttachmentRecord)}};
        locks = {{0, offsetof(objects::SegmentControl, lock)}};
        interesting = {kBytes, 20480, objects::kAttachmentRecords, objects::records_in_pages(1), objects::kSegmentControlBytes};
    }

    void begin(Met met) override {
        SysvSubject::begin(met);
        keep_names();
    }
    void meet(Journal& j, Met met) override {
        meet_it(j, met);
        // A segment that is marked for removal goes with its last attachment, in whatever call.
        if (access(path("").c_str(), F_OK) == 0 && access(path(".data").c_str(), F_OK) == 0 && access(key_path().c_str(), F_OK) == 0) return;
        names_again();
        keep_names();
    }
    void meet_it(Journal& j, Met) {
        const Library& l = library();
        static constexpr std::initializer_list<int> attaching = {EINVAL, EIDRM, EACCES, ENOMEM, EMFILE};
        static constexpr std::initializer_list<int> controlling = {EINVAL, EIDRM, EACCES, EPERM, ENOMEM, EOVERFLOW};
        shmid_ds state{};
        const bool told = j.call("shmctl IPC_STAT", controlling, [&] { return l.shmctl(id_, IPC_STAT, &state); }) == 0;
        // A program touches what it was told of.
        const std::size_t size = told ? std::min<std::size_t>(state.shm_segsz, kBytes) : 0;
        for (const int flags : {0, SHM_RDONLY}) {
            void* at = nullptr;
            if (j.call("shmat", attaching, [&] { return reinterpret_cast<long>(at = l.shmat(id_, nullptr, flags)) == -1 ? -1 : 0; }) != 0) continue;
            auto* bytes = static_cast<volatile char*>(at);
            for (std::size_t byte = 0; byte < size; byte += 1999)
                if (flags == 0) bytes[byte] = 'x';
                else (void)bytes[byte];
            j.call("shmdt", {EINVAL, EIDRM}, [&] { return l.shmdt(at); });
        }
        if (told && j.once_in(4))
            j.call("shmctl IPC_SET", controlling, [&] { return l.shmctl(id_, IPC_SET, &state); });
        if (j.once_in(8)) {
            for (const int command : {SHM_LOCK, SHM_UNLOCK}) j.call("shmctl SHM_LOCK", controlling, [&] { return l.shmctl(id_, command, nullptr); });
            j.call("shmctl SHM_STAT", controlling, [&] { return l.shmctl(id_ % 32768, SHM_STAT, &state); });
            shm_info info{};
            j.call("shmctl SHM_INFO", {EINVAL}, [&] { return l.shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&info)); });
        }
        if (!j.once_in(32)) return;
        j.call("shmget", {ENOENT, EACCES, EINVAL, ENOSPC, ENOMEM}, [&] { return l.shmget(kKey, 0, 0); });
        if (j.once_in(128)) j.call("shmctl IPC_RMID", {EINVAL, EIDRM, EPERM}, [&] { return l.shmctl(id_, IPC_RMID, nullptr); });
    }
    void look(Journal& j) override {
        shmid_ds state{};
        j.call("shmctl IPC_STAT", {EINVAL, EIDRM, EACCES}, [&] { return library().shmctl(id_, IPC_STAT, &state); });
    }

private:
    std::vector<Child> users_;
};

// sysv/.sem and its like: wrong hints cost time, never an object.
class Hints final : public Subject {
public:
    Hints(const std::string& domain, const std::string& kind) : Subject("hints of " + kind), kind_(kind) {
        files.push_back(std::make_unique<ImageFile>(domain + "/sysv/." + kind));
        tables = {{"head of the hints", 0, 0, 72}, {"which are used", 0, 72, 248, false}, {"the last ones used", 0, 4128, 32, false},
                  {"which to look at", 0, 4160, 16}, {"more to look at", 0, 4176, 240, false}, {"the end", 0, 8240, 32, false}};
        interesting = {32768, 32767, 64, 4096, 12288};
    }
    void begin(Met) override {}
    void meet(Journal& j, Met) override {
        const Library& l = library();
        static constexpr std::initializer_list<int> making = {ENOSPC, ENOMEM, EACCES};
        if (kind_ == "sem") {
            const int id = static_cast<int>(j.call("semget", making, [&] { return l.semget(IPC_PRIVATE, 1, 0600); }));
            seminfo info{};
            j.call("semctl SEM_INFO", {EINVAL}, [&] { return l.semctl(0, 0, SEM_INFO, &info); });
            if (id >= 0) j.call("semctl IPC_RMID", {}, [&] { return l.semctl(id, 0, IPC_RMID); });
        } else if (kind_ == "msg") {
            const int id = static_cast<int>(j.call("msgget", making, [&] { return l.msgget(IPC_PRIVATE, 0600); }));
            msginfo info{};
            j.call("msgctl MSG_INFO", {EINVAL}, [&] { return l.msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&info)); });
            if (id >= 0) j.call("msgctl IPC_RMID", {}, [&] { return l.msgctl(id, IPC_RMID, nullptr); });
        } else {
            const int id = static_cast<int>(j.call("shmget", making, [&] { return l.shmget(IPC_PRIVATE, 4096, 0600); }));
            shm_info info{};
            j.call("shmctl SHM_INFO", {EINVAL}, [&] { return l.shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&info)); });
            if (id >= 0) j.call("shmctl IPC_RMID", {}, [&] { return l.shmctl(id, IPC_RMID, nullptr); });
        }
    }

private:
    std::string kind_;
};

}  // namespace

std::unique_ptr<Subject> segment_subject(const std::string& domain, const std::string& state) { return std::make_unique<Segment>(domain, state); }
std::unique_ptr<Subject> hints_subject(const std::string& domain, const std::string& kind) { return std::make_unique<Hints>(domain, kind); }

}  // namespace muster::test::hostile
