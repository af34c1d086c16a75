// System V queues for hostile_bytes_test: both files.
#include <fcntl.h>
#include <signal.h>
#include "objects/queue_layout.hpp"
#include "proof/hostile_bytes.hpp"
#include "proof/hostile_bytes_stage.hpp"
#include "proof/hostile_bytes_sysv.hpp"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif

namespace muster::test::hostile {
namespace {

using objects::QueueHeader;

class TypedQueue final : public SysvSubject {
public:
    TypedQueue(const std::string& domain, const std::string& state) : SysvSubject("typed queue, " + state, domain, "msg", true) {
        const bool senders = state == "senders asleep", receivers = state == "receivers asleep", dead = state == "the dead";
        stage([&] {
            const int id = library().msgget(kKey, IPC_CREAT | IPC_EXCL | 0600);
            return id < 0 ? -1 : fill(id, senders, !receivers && !dead) ? id : -1;
        });
        std::vector<Child> sleepers;
        for (int n = 0; state != "messages" && n < 2; ++n)
            sleepers.emplace_back([&, n] {
                MessageText text{4, {}};
                if (senders) (void)library().msgsnd(id_, &text, 4000, 0);
                else (void)library().msgrcv(id_, &text, sizeof text.text, n == 0 ? 0 : -77, 0);
            });
        open_files();
        ImageFile& file = *files[0];
        const auto geometry = file.get<objects::QueueGeometry>(offsetof(QueueHeader, geometry));
        for (std::uint32_t n = 0; n < sleepers.size(); ++n) wait_for_sleeper(file, geometry.actors_offset, n, sleepers[n]);
        if (dead) {
            sleepers.clear();
            require(Controls::in_a_child([&] { return fill(id_, false, true) ? 0 : 1; }), "messages among the dead");
            for (std::uint32_t n = 0; n < 2; ++n) put_dead_actor(file, geometry.actors_offset, n);
            file.put(offsetof(QueueHeader, send_lock), kOwnerDied | kNoSuchThread);
            file.put(offsetof(QueueHeader, receive_lock), kOwnerDied | kNoSuchThread);
            file.put(offsetof(QueueHeader, send) + offsetof(objects::QueueSend, filling), std::uint32_t{2});
            file.put(offsetof(QueueHeader, receive) + offsetof(objects::QueueReceive, taking), std::uint32_t{1});
        } else {
            stop_sleepers(file, geometry.actors_offset, sleepers);
            files[1]->take();
        }
        name_tables(geometry);
    }

    void meet(Journal& j, Met) override {
        const Library& l = library();
        const int id = id_;
        MessageText& text = text_;
        text.type = 7;
        j.call("msgsnd", {EINVAL, EIDRM, EAGAIN, ENOMEM, EACCES}, [&] { return l.msgsnd(id, &text, 100, IPC_NOWAIT); });
        text.type = 1;
        j.call("msgsnd", {EINVAL, EIDRM, EAGAIN, ENOMEM, EACCES}, [&] { return l.msgsnd(id, &text, 2, IPC_NOWAIT); });
        receive(j, sizeof text.text, 2, IPC_NOWAIT);
        receive(j, 0, 0, IPC_NOWAIT);
        receive(j, sizeof text.text, 3, IPC_NOWAIT | MSG_EXCEPT);
        if (j.once_in(4)) {
            receive(j, 10, 0, IPC_NOWAIT | MSG_NOERROR);
            receive(j, sizeof text.text, 1, IPC_NOWAIT | MSG_COPY);
            msqid_ds state{};
            if (j.call("msgctl IPC_STAT", {EINVAL, EIDRM, EACCES}, [&] { return l.msgctl(id, IPC_STAT, &state); }) == 0)
                j.call("msgctl IPC_SET", {EINVAL, EIDRM, EPERM, EACCES, ENOMEM}, [&] { return l.msgctl(id, IPC_SET, &state); });
            j.call("msgctl MSG_STAT", {EINVAL, EIDRM, EACCES}, [&] { return l.msgctl(id % 32768, MSG_STAT, &state); });
        }
        if (j.once_in(64)) {
            msqid_ds state{};
            msginfo info{};
            j.call("msgctl MSG_STAT_ANY", {EINVAL, EIDRM}, [&] { return l.msgctl(id % 32768, 13, &state); });
            j.call("msgctl MSG_INFO", {EINVAL}, [&] { return l.msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&info)); });
            j.call("msgctl IPC_INFO", {EINVAL}, [&] { return l.msgctl(0, IPC_INFO, reinterpret_cast<msqid_ds*>(&info)); });
            keep_names();
            j.call("msgget", {ENOENT, EACCES, EINVAL, ENOSPC, ENOMEM}, [&] { return l.msgget(kKey, 0); });
            names_again();
        }
        for (const long type : {-4L, 0L, 0L, 7L}) receive(j, sizeof text.text, type, IPC_NOWAIT);
        if (j.once_in(128)) {
            keep_names();
            j.call("msgctl IPC_RMID", {EINVAL, EIDRM, EPERM}, [&] { return l.msgctl(id, IPC_RMID, nullptr); });
            names_again();
        }
    }
    void look(Journal& j) override {
        msqid_ds state{};
        j.call("msgctl IPC_STAT", {EINVAL, EIDRM, EACCES}, [&] { return library().msgctl(id_, IPC_STAT, &state); });
    }

private:
    void receive(Journal& j, std::size_t bytes, long type, int flags) {
        j.call("msgrcv", {EINVAL, EIDRM, ENOMSG, ENOMEM, EACCES, E2BIG}, [&] { return library().msgrcv(id_, &text_, bytes, type, flags); });
    }
    static bool fill(int id, bool full, bool some) {
        MessageText text{};
        if (full) {
            text.type = 2;
            for (int n = 0; n < 4; ++n)
                if (library().msgsnd(id, &text, 4000, IPC_NOWAIT) != 0) return false;
            return true;
        }
        if (!some) return true;
        for (const long type : {3, 1, 3, 2, 9, 5}) {
            text.type = type;
            if (library().msgsnd(id, &text, static_cast<std::size_t>(40 * type), IPC_NOWAIT) != 0) return false;
        }
        if (library().msgrcv(id, &text, sizeof text.text, 2, IPC_NOWAIT) != 80) return false;
        text.type = 6;
        return library().msgsnd(id, &text, 2000, IPC_NOWAIT) == 0;
    }
    void name_tables(const objects::QueueGeometry& g) {
        tables = {{"header", 0, 0, sizeof(QueueHeader)},
                  {"inbox ring", 0, sizeof(QueueHeader), 64},
                  {"returned ring", 0, sizeof(QueueHeader) + 4ull * g.ring_entries, 64},
                  {"actors", 0, g.actors_offset, 3 * sizeof(sync::Actor)}};
        for (std::uint32_t slot = 0; slot < 6; ++slot) {
            const std::uint64_t at = std::uint64_t{slot} * g.slot_stride;
            tables.push_back({"slot header", 1, at, sizeof(objects::Slot)});
            tables.push_back({"lane, bucket, heaps", 1, at + g.slot_stride - sizeof(objects::TypeLane), sizeof(objects::TypeLane)});
        }
        for (std::uint32_t slot = 0; slot < 24; ++slot)
            also_written.push_back({"slot", 1, std::uint64_t{slot} * g.slot_stride, g.slot_stride});
        locks = {{0, offsetof(QueueHeader, send_lock)}, {0, offsetof(QueueHeader, receive_lock)}};
        actors_at = g.actors_offset, actors = g.actors;
        interesting = {g.slots, g.ring_entries, g.actors, g.slot_stride, g.inline_bytes, g.region_stride, g.slots_offset, g.regions_offset};
    }
    MessageText text_{};
};

}  // namespace

std::unique_ptr<Subject> typed_subject(const std::string& domain, const std::string& state) { return std::make_unique<TypedQueue>(domain, state); }

}  // namespace muster::test::hostile
