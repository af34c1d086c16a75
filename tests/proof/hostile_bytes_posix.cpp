// POSIX queues for hostile_bytes_test: staged by the library itself, some by processes that sleep in it or died there.
#include <fcntl.h>
#include <signal.h>
#include <stdexcept>
#include "objects/queue_layout.hpp"
#include "proof/hostile_bytes.hpp"
#include "proof/hostile_bytes_stage.hpp"

namespace muster::test::hostile {
namespace {

using objects::QueueHeader;
constexpr const char* kName = "/victim";

struct Shape {
    long messages_max, message_bytes_max;
    std::size_t length;
};

class PosixQueue final : public Subject {
public:
    PosixQueue(const std::string& domain, const std::string& state) : Subject("POSIX queue, " + state), path_(domain + "/mq" + kName) {
        shape_ = state == "long messages" ? Shape{4, 100'000, 70'000} : state == "regions" ? Shape{20, 9000, 8000} : Shape{8, 64, 40};
        const bool senders = state == "senders asleep", receivers = state == "receivers asleep";
        require(Controls::in_a_child([&] { return fill(senders ? 8 : receivers ? 0 : 3); }), "the queue");
        std::vector<Child> sleepers;
        for (int n = 0; (senders || receivers || state == "the dead") && n < 2; ++n) {
            const bool empty = receivers || state == "the dead";
            if (state == "the dead" && n == 0) require(Controls::in_a_child([&] { return drain(); }), "the queue emptied");
            sleepers.emplace_back([&, empty] {
                const mqd_t queue = library().mq_open(kName, O_RDWR);
                std::vector<char> text(static_cast<std::size_t>(shape_.message_bytes_max), 's');
                if (empty) (void)library().mq_receive(queue, text.data(), text.size(), nullptr);
                else (void)library().mq_send(queue, text.data(), shape_.length, 9);
            });
        }
        files.push_back(std::make_unique<ImageFile>(path_));
        ImageFile& file = *files[0];
        const auto geometry = file.get<objects::QueueGeometry>(offsetof(QueueHeader, geometry));
        for (std::uint32_t n = 0; n < sleepers.size(); ++n) wait_for_sleeper(file, geometry.actors_offset, n, sleepers[n]);
        if (state == "the dead") {
            sleepers.clear();  // killed: the kernel marks their records
            require(Controls::in_a_child([&] { return fill_again(3); }), "messages among the dead");
            for (std::uint32_t n = 0; n < 2; ++n) put_dead_actor(file, geometry.actors_offset, n);
            put_intents(file);
        } else {
            stop_sleepers(file, geometry.actors_offset, sleepers);
        }
        name_tables(geometry);
    }
    ~PosixQueue() override { unlink(path_.c_str()); }

    void begin(Met met) override {
        if (met == Met::known) known_ = library().mq_open(kName, O_RDWR | O_NONBLOCK);
    }
    void meet(Journal& j, Met met) override {
        const Library& l = library();
        mqd_t queue = known_;
        if (met == Met::late) {
            queue = static_cast<mqd_t>(j.call("mq_open", {EINVAL, EACCES, ENOMEM}, [&] { return l.mq_open(kName, O_RDWR | O_NONBLOCK); }));
            if (queue < 0) return;
        }
        char* text = text_;
        const timespec past{1, 0};
        mq_attr attributes{}, other{};
        struct stat status;
        j.call("mq_getattr", {EBADMSG}, [&] { return l.mq_getattr(queue, &attributes); });
        j.call("mq_send", {EAGAIN, EBADMSG, ENOSPC, EMSGSIZE}, [&] { return l.mq_send(queue, text, 30, 1); });
        for (int n = 0; n < 2; ++n)
            j.call("mq_receive", {EAGAIN, EBADMSG, EMSGSIZE, ENOSPC}, [&] { return l.mq_receive(queue, text, sizeof text_, nullptr); });
        j.call("mq_send", {EAGAIN, EBADMSG, ENOSPC, EMSGSIZE}, [&] { return l.mq_send(queue, text, shape_.length, 200); });
        if (j.once_in(4)) {
            attributes.mq_flags = 0;
            j.call("mq_setattr", {EBADMSG}, [&] { return l.mq_setattr(queue, &attributes, &other); });
            j.call("mq_timedsend", {EAGAIN, ETIMEDOUT, EBADMSG, ENOSPC, EMSGSIZE}, [&] { return l.mq_timedsend(queue, text, 10, 3, &past); });
            j.call("mq_timedreceive", {EAGAIN, ETIMEDOUT, EBADMSG, ENOSPC, EMSGSIZE}, [&] { return l.mq_timedreceive(queue, text, sizeof text_, nullptr, &past); });
            if (j.once_in(128)) sleep_a_little(j, queue);
            attributes.mq_flags = O_NONBLOCK;
            j.call("mq_setattr", {EBADMSG}, [&] { return l.mq_setattr(queue, &attributes, &other); });
            sigevent none{};
            none.sigev_notify = SIGEV_NONE;
            j.call("mq_notify", {EBUSY, EBADMSG, ENOSPC, EAGAIN}, [&] { return l.mq_notify(queue, &none); });
            j.call("mq_notify", {EBADMSG, ENOSPC, EAGAIN}, [&] { return l.mq_notify(queue, nullptr); });
            j.call("fstat", {EBADMSG}, [&] { return l.fstat(queue, &status); });
            j.call("read", {EBADMSG, EINVAL}, [&] { return l.read(queue, text, 100); });
        }
        if (j.once_in(32)) {
            pollfd who{queue, POLLIN | POLLOUT, 0};
            j.call("poll", {ENOMEM, EINTR}, [&] { return l.poll(&who, 1, 0); });
            j.call("mq_receive", {EAGAIN, EBADMSG, EMSGSIZE, ENOSPC}, [&] { return l.mq_receive(queue, text, sizeof text_, nullptr); });
        }
        for (int n = 0; n < 3; ++n)
            j.call("mq_receive", {EAGAIN, EBADMSG, EMSGSIZE, ENOSPC}, [&] { return l.mq_receive(queue, text, sizeof text_, nullptr); });
        if (j.once_in(64)) {
            files[0]->keep();
            j.call("mq_unlink", {EACCES, EINVAL}, [&] { return l.mq_unlink(kName); });
            files[0]->name_again(path_);
            files[0]->forget_kept();
        }
        if (met == Met::late) j.call("mq_close", {EBADMSG}, [&] { return l.mq_close(queue); });
    }

private:
    // With time-outs that are still to come.
    void sleep_a_little(Journal& j, mqd_t queue) {
        timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 1'000'000;
        if (soon.tv_nsec >= 1'000'000'000) soon.tv_nsec -= 1'000'000'000, ++soon.tv_sec;
        for (int n = 0; n < 4; ++n)
            j.call("mq_timedreceive", {EAGAIN, ETIMEDOUT, EBADMSG, ENOSPC, EMSGSIZE}, [&] { return library().mq_timedreceive(queue, text_, sizeof text_, nullptr, &soon); });
        for (int n = 0; n < 10; ++n)
            j.call("mq_timedsend", {EAGAIN, ETIMEDOUT, EBADMSG, ENOSPC, EMSGSIZE}, [&] { return library().mq_timedsend(queue, text_, 20, 5, &soon); });
    }
    int fill(unsigned messages) const {
        mq_attr attributes{};
        attributes.mq_maxmsg = shape_.messages_max, attributes.mq_msgsize = shape_.message_bytes_max;
        if (library().mq_open(kName, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes) < 0) return 1;
        const int filled = fill_again(messages);
        if (filled != 0 || messages != 3) return filled;
        // One slot that was used and is free, one message in the inbox, the others in the index.
        const mqd_t queue = library().mq_open(kName, O_RDWR | O_NONBLOCK);
        std::vector<char> text(static_cast<std::size_t>(shape_.message_bytes_max), 'm');
        if (library().mq_receive(queue, text.data(), text.size(), nullptr) < 0) return 3;
        return library().mq_send(queue, text.data(), shape_.length, 210) == 0 ? 0 : 4;
    }
    int fill_again(unsigned messages) const {
        const mqd_t queue = library().mq_open(kName, O_RDWR | O_NONBLOCK);
        std::vector<char> text(static_cast<std::size_t>(shape_.message_bytes_max), 'm');
        for (unsigned n = 0; n < messages; ++n)
            if (library().mq_send(queue, text.data(), shape_.length, n * 70) != 0) return 2;
        return 0;
    }
    int drain() const {
        const mqd_t queue = library().mq_open(kName, O_RDWR | O_NONBLOCK);
        std::vector<char> text(static_cast<std::size_t>(shape_.message_bytes_max));
        while (library().mq_receive(queue, text.data(), text.size(), nullptr) >= 0) {}
        return errno == EAGAIN ? 0 : 5;
    }
    static void put_intents(const ImageFile& file) {
        file.put(offsetof(QueueHeader, send_lock), kOwnerDied | kNoSuchThread);
        file.put(offsetof(QueueHeader, receive_lock), kOwnerDied | kNoSuchThread);
        file.put(offsetof(QueueHeader, send) + offsetof(objects::QueueSend, filling), std::uint32_t{2});
        file.put(offsetof(QueueHeader, receive) + offsetof(objects::QueueReceive, taking), std::uint32_t{1});
    }
    void name_tables(const objects::QueueGeometry& g) {
        tables = {{"header", 0, 0, sizeof(QueueHeader)},
                  {"inbox ring", 0, sizeof(QueueHeader), 64},
                  {"returned ring", 0, sizeof(QueueHeader) + 4ull * g.ring_entries, 64},
                  {"lanes", 0, g.lanes_offset, 3 * sizeof(objects::LaneBlock), false},
                  {"lanes of priority 210", 0, g.lanes_offset + 3 * sizeof(objects::LaneBlock), sizeof(objects::LaneBlock), false},
                  {"occupied lanes", 0, g.lanes_offset, 16},
                  {"actors", 0, g.actors_offset, 3 * sizeof(sync::Actor)}};
        for (std::uint32_t slot = 0; slot < 5; ++slot)
            tables.push_back({"slot header", 0, g.slots_offset + std::uint64_t{slot} * g.slot_stride, sizeof(objects::Slot)});
        for (std::uint32_t slot = 0; slot < 24; ++slot)
            also_written.push_back({"slot", 0, g.slots_offset + std::uint64_t{slot} * g.slot_stride, sizeof(objects::Slot)});
        locks = {{0, offsetof(QueueHeader, send_lock)}, {0, offsetof(QueueHeader, receive_lock)}};
        actors_at = g.actors_offset, actors = g.actors;
        interesting = {g.slots, g.ring_entries, g.actors, g.slot_stride, g.inline_bytes, g.region_stride, g.slots_offset, g.regions_offset};
    }

    std::string path_;
    Shape shape_{};
    mqd_t known_ = -1;
    char text_[100'000] = {};
};

}  // namespace

std::unique_ptr<Subject> posix_subject(const std::string& domain, const std::string& state) { return std::make_unique<PosixQueue>(domain, state); }

}  // namespace muster::test::hostile
