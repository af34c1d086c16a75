// The objects that are tortured, and what must be true of them: while everybody rests, and when all were killed.
#pragma once
#include <set>
#include "support/queue_audit.hpp"
#include "torture_board.hpp"

namespace muster::test::torture {

// What a look found wrong; empty if nothing.
using Complaint = std::string;

// "gc PATH", "find PATH" (what gc and fsck find), "clear PATH SET QUEUE..." (removes all objects but those to keep): done through
// the C++ interface, in a process that has inherited nothing. Complaints go to standard output.
void take_care(const std::string& what);

class Scene {
public:
    // A domain of its own for this process, which keeps to its first. Everything in it is removed with the process.
    Scene();
    Scene(const Scene&) = delete;
    ~Scene();

    const Objects& objects() const { return objects_; }
    Board& board() { return *board_; }

    // Forgets the promises of the round before, makes the segments: half of them removed already, and living on.
    void begin_round();
    // A worker has ended: what its threads had been given inside their calls, what it did not come to count.
    void take_over(Desk& desk);
    // Messages that are promised and that nobody has.
    std::size_t unaccounted(unsigned queue) const;

    // While all rest. `living`: processes that have inherited this one's attachments.
    Complaint queues_while_resting();
    Complaint values();
    Complaint attachments_while_resting(unsigned living);
    Complaint tokens_are_exact();

    // When all are dead, in this order.
    Complaint clean_up();       // gc, after which nothing is to be found
    Complaint nobody_waits();   // at the semaphores
    Complaint drain();          // the messages, in order; then every promise is judged
    Complaint memory_is_back();
    Complaint leave_segments(bool by_death);
    Complaint names_are_back();

    bool has_files(int segment) const;
    std::uint64_t idle_bytes_max() const { return idle_bytes_max_; }
    std::uint64_t taken_by_the_dead() const { return taken_by_the_dead_; }
    std::uint64_t late() const { return late_; }

private:
    void make_queues();
    void warm_up();
    Complaint care(const std::string& what) const;
    std::set<std::string> names() const;
    Audit audit(unsigned queue) const;
    std::string queue_file(unsigned queue) const;
    bool next_message(unsigned queue, std::uint32_t& key, std::size_t& length);
    Complaint drain_queue(unsigned queue);
    Complaint judge_promises() const;
    Complaint attachments(const std::vector<long>& expected) const;

    struct OwnDomain {
        OwnDomain();
        char path[32] = "/dev/shm/muster-torture-XXXXXX";
    } domain_;
    const pid_t owner_ = getpid();
    Objects objects_;
    Shared<Board> board_;
    std::vector<void*> own_attachments_;
    std::vector<std::uint8_t> maybe_ = std::vector<std::uint8_t>(kPromises);  // whole in a dead receiver's buffer
    std::uint64_t died_receiving_[kQueueCount] = {};
    std::vector<unsigned char> buffer_ = std::vector<unsigned char>(kLongestBytes + 64);
    std::int64_t tokens_ = 0, tokens_uncertain_ = 0;
    std::set<std::string> first_names_;
    std::uint64_t idle_bytes_max_ = 0, taken_by_the_dead_ = 0, late_ = 0;
};

}  // namespace muster::test::torture
