// What must be true of messages, values and attachments.
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include "torture_library.hpp"
#include "torture_scene.hpp"

namespace muster::test::torture {

void Scene::begin_round() {
    Board& board = *board_;
    const std::uint32_t used = board.used < kPromises ? board.used.load() : kPromises;
    std::memset(static_cast<void*>(board.promises), 0, used * sizeof(Promise));
    std::fill(maybe_.begin(), maybe_.begin() + used, std::uint8_t{0});
    board.used = 0;
    ++board.round;
    for (unsigned i = 0; i < kQueueCount; ++i) {
        late_ += board.late[i];
        board.late[i] = board.put_backs[i] = died_receiving_[i] = 0;
    }
    objects_.segments.clear();
    own_attachments_.clear();
    for (unsigned i = 0; i < kSegments; ++i) {
        objects_.segments.push_back(library().shmget(IPC_PRIVATE, kSegmentBytes, 0600));
        own_attachments_.push_back(library().shmat(objects_.segments.back(), nullptr, 0));
        if (own_attachments_.back() == reinterpret_cast<void*>(-1)) std::abort();
        if (i % 2 == 0 && library().shmctl(objects_.segments.back(), IPC_RMID, nullptr) != 0) std::abort();
    }
}

void Scene::take_over(Desk& desk) {
    for (Post& post : desk.posts) {
        const std::uint32_t doing = post.doing;
        if ((doing & kReceiving) != 0) {
            ++died_receiving_[(doing & kQueueMask) - 1];
            Body body;
            std::memcpy(&body, post.body(), sizeof body);
            const auto at = static_cast<std::uint32_t>(body.id);
            if (body.length >= kBodyBytes && body.length <= static_cast<std::uint32_t>(kLongestBytes) && body.id >> 32 == board_->round &&
                at < kPromises && wrong_body(post.body(), body.length, body.priority) == nullptr)
                maybe_[at] = 1;
        }
        post.doing = 0;
        post.thread = 0;
        post.paused = post.over = 0;
    }
    if (desk.at_tokens != 0) ++tokens_uncertain_;
    desk.at_tokens = 0;
    desk.paused = desk.anew = 0;
    for (auto& pieces : desk.pieces) pieces = 0;
}

std::size_t Scene::unaccounted(unsigned queue) const {
    const std::uint32_t used = board_->used < kPromises ? board_->used.load() : kPromises;
    std::size_t count = 0;
    for (std::uint32_t at = 0; at < used; ++at) {
        const Promise& promise = board_->promises[at];
        count += promise.queue == queue && promise.sending == Sending::promised && promise.received == 0 && maybe_[at] == 0;
    }
    return count;
}

Audit Scene::audit(unsigned queue) const {
    const int fd = ::open(queue_file(queue).c_str(), O_RDONLY | O_CLOEXEC);
    const int slots = kQueues[queue].typed() ? ::open((queue_file(queue) + ".data").c_str(), O_RDONLY | O_CLOEXEC) : -1;
    Audit result = audit_queue(fd, slots);
    ::close(fd);
    if (slots >= 0) ::close(slots);
    for (std::string& each : result.complaints) each = "queue " + std::to_string(queue) + ": " + each;
    return result;
}

Complaint Scene::queues_while_resting() {
    // Whoever waits for any message at all gets what was promised, by himself, whatever the dead had in their hands.
    for (Desk& desk : board_->desks)
        for (Post& post : desk.posts) {
            const std::uint32_t doing = post.doing;
            if ((doing & kReceiving) == 0 || (doing & kSelective) != 0) continue;
            const unsigned queue = (doing & kQueueMask) - 1;
            const auto served = [&] { return post.doing != doing || unaccounted(queue) == 0; };
            if (!eventually(served))
                return "somebody sleeps at queue " + std::to_string(queue) + " beside " + std::to_string(unaccounted(queue)) +
                       " messages:\n" + audit(queue).text();
        }
    if (const Complaint failed = care("gc"); !failed.empty()) return failed;
    Complaint all;
    for (unsigned i = 0; i < kQueueCount; ++i) {
        // A lock of the dead is repaired by whoever takes it next: these calls take both.
        sigevent nothing{};
        nothing.sigev_notify = SIGEV_NONE;
        msqid_ds status{};
        if (kQueues[i].typed()) library().msgctl(objects_.queue[i], IPC_STAT, &status);
        else if (library().mq_notify(objects_.queue[i], &nothing) == 0) library().mq_notify(objects_.queue[i], nullptr);
        Complaint found;
        // A sleeper wakes now and then to look around.
        if (!eventually([&] { return (found = audit(i).text()).empty(); }, std::chrono::seconds(10))) all += found;
    }
    return all;
}

Complaint Scene::values() {
    std::vector<unsigned short> now(kFirstValues.size());
    if (library().semctl(objects_.set, 0, GETALL, now.data()) != 0) return "GETALL fails\n";
    if (now == kFirstValues) return "";
    Complaint text = "the semaphores are";
    for (const unsigned short value : now) text += " " + std::to_string(value);
    return text + "\n";
}

Complaint Scene::nobody_waits() {
    Complaint all = values();
    for (int number = 0; number < static_cast<int>(kFirstValues.size()); ++number)
        for (const int command : {GETNCNT, GETZCNT})
            if (library().semctl(objects_.set, number, command) != 0) all += "somebody waits at semaphore " + std::to_string(number) + "\n";
    return all;
}

Complaint Scene::attachments(const std::vector<long>& expected) const {
    std::vector<long> counted(kSegments);
    const auto exact = [&] {
        for (unsigned i = 0; i < kSegments; ++i) {
            shmid_ds status{};
            counted[i] = library().shmctl(objects_.segments[i], IPC_STAT, &status) == 0 ? static_cast<long>(status.shm_nattch) : -1;
        }
        return counted == expected;
    };
    if (eventually(exact)) return "";  // children of the killed may be ending still
    Complaint text = "attachments, counted and true:";
    for (unsigned i = 0; i < kSegments; ++i) text += " " + std::to_string(counted[i]) + "/" + std::to_string(expected[i]);
    return text + "\n";
}

Complaint Scene::attachments_while_resting(unsigned living) {
    std::vector<long> expected(kSegments, 1 + static_cast<long>(living));
    for (const Desk& desk : board_->desks)
        for (unsigned i = 0; i < kSegments; ++i) expected[i] += desk.pieces[i];
    return attachments(expected);
}

Complaint Scene::tokens_are_exact() {
    int value = 0;
    sem_getvalue(objects_.tokens, &value);
    const std::int64_t expected = tokens_ + board_->tokens.exchange(0), wrong = value - expected, doubt = tokens_uncertain_;
    tokens_ = value;
    tokens_uncertain_ = 0;
    if (wrong <= doubt && wrong >= -doubt) return "";
    return "the named semaphore is " + std::to_string(value) + " instead of " + std::to_string(expected) + ", of which " +
           std::to_string(doubt) + " are uncertain\n";
}

bool Scene::has_files(int segment) const {
    const std::string name = std::string(domain_.path) + "/sysv/shm-" + std::to_string(segment % 32768);
    return std::filesystem::exists(name) || std::filesystem::exists(name + ".data");
}

Complaint Scene::leave_segments(bool by_death) {
    Complaint all = attachments(std::vector<long>(kSegments, 1));
    const Library& call = library();
    for (unsigned i = 0; i < kSegments; ++i) {
        const bool marked = i % 2 == 0;
        if (by_death && marked) {  // by the death of the last one, which nobody sees
            Child last([&] { kill(getpid(), SIGKILL); });
            if (!last.ends() || call.munmap(own_attachments_[i], kSegmentBytes) != 0) all += "munmap fails\n";
        } else if (call.shmdt(own_attachments_[i]) != 0) {
            all += "shmdt fails\n";
        }
        shmid_ds status{};
        const int rc = call.shmctl(objects_.segments[i], IPC_STAT, &status);
        if (marked ? rc == 0 || has_files(objects_.segments[i]) : rc != 0 || status.shm_nattch != 0)
            all += "segment " + std::to_string(i) + (marked ? " lives on\n" : " is wrong after the last one left\n");
        if (!marked && call.shmctl(objects_.segments[i], IPC_RMID, nullptr) != 0) all += "a segment cannot be removed\n";
        if (has_files(objects_.segments[i])) all += "a removed segment has files\n";
    }
    return all;
}

bool Scene::next_message(unsigned queue, std::uint32_t& key, std::size_t& length) {
    const auto room = static_cast<std::size_t>(kQueues[queue].message_bytes);
    ssize_t got = 0;
    if (kQueues[queue].typed()) {
        got = library().msgrcv(objects_.queue[queue], buffer_.data(), room, 0, IPC_NOWAIT);
        long type = 0;
        std::memcpy(&type, buffer_.data(), sizeof type);
        key = static_cast<std::uint32_t>(type);
    } else {
        const timespec past{};
        got = library().mq_timedreceive(objects_.queue[queue], reinterpret_cast<char*>(buffer_.data() + 8), room, &key, &past);
    }
    length = got < 0 ? 0 : static_cast<std::size_t>(got);
    return got >= 0;
}

// What is left comes strictly in order: everything that was put back has gone to its old place.
Complaint Scene::drain_queue(unsigned queue) {
    const std::string where = "queue " + std::to_string(queue) + ", drained: ";
    std::map<std::uint64_t, std::uint32_t> seen;
    std::uint32_t key = 0, priority_before = 0xffffffff;
    std::size_t length = 0;
    while (next_message(queue, key, length)) {
        if (const char* wrong = wrong_body(buffer_.data() + 8, length, key)) return where + wrong + "\n";
        Body body;
        std::memcpy(&body, buffer_.data() + 8, sizeof body);
        const auto at = static_cast<std::uint32_t>(body.id);
        if (body.id >> 32 != board_->round || at >= kPromises) return where + "a message of no promise\n";
        Promise& promise = board_->promises[at];
        if (promise.queue != queue || promise.lane != key) return where + "a message of another queue or lane\n";
        ++promise.received;
        std::uint32_t& last = seen[std::uint64_t{promise.sender} << 32 | key];
        if (promise.sequence <= last) return where + "a message after a later one of its sender\n";
        last = promise.sequence;
        if (!kQueues[queue].typed() && key > priority_before) return where + "a priority after a lower one\n";
        priority_before = key;
    }
    return errno == ENOMSG || errno == ETIMEDOUT ? "" : where + std::strerror(errno) + "\n";
}

Complaint Scene::drain() {
    Complaint all;
    for (unsigned i = 0; i < kQueueCount; ++i) {
        all += audit(i).text();
        all += drain_queue(i);
        if (board_->late[i] > board_->put_backs[i] + died_receiving_[i])
            all += "queue " + std::to_string(i) + ": " + std::to_string(board_->late[i]) +
                   " messages came after later ones, of which only " +
                   std::to_string(board_->put_backs[i] + died_receiving_[i]) + " can have been put back\n";
    }
    for (std::uint32_t at = 0; at < kPromises && at < board_->used; ++at)
        taken_by_the_dead_ += maybe_[at] != 0 && board_->promises[at].received == 0;
    return all + judge_promises();
}

Complaint Scene::judge_promises() const {
    std::map<std::string, unsigned> wrong;
    for (std::uint32_t at = 0; at < kPromises && at < board_->used; ++at) {
        const Promise& promise = board_->promises[at];
        const Sending sending = promise.sending;
        const unsigned received = promise.received;
        const std::string queue = "queue " + std::to_string(promise.queue) + ": ";
        if (received > 1) ++wrong[queue + "came twice"];
        if (sending == Sending::promised && received == 0 && maybe_[at] == 0) ++wrong[queue + "promised and lost"];
        if (sending == Sending::refused && (received != 0 || maybe_[at] != 0)) ++wrong[queue + "refused, and came"];
        if (sending == Sending::unused && (received != 0 || maybe_[at] != 0)) ++wrong[queue + "never sent, and came"];
    }
    Complaint all;
    for (const auto& [what, count] : wrong) all += what + ": " + std::to_string(count) + "\n";
    return all;
}

}  // namespace muster::test::torture
