// A message queue and the processes of a schedule that use it.
#pragma once
#include <sys/mman.h>
#include <unistd.h>
#include <cstring>
#include "objects/queue.hpp"
#include "tests/proof/schedules_history.hpp"
#include "tests/proof/schedules_queue.hpp"

namespace muster::test {

class QueueScenario : public Scenario {
public:
    explicit QueueScenario(const QueueShape& shape);
    ~QueueScenario() override;

    std::vector<std::function<void()>> begin(std::uint64_t seed) override;
    std::string judge(simulated::Machine::Ending ending) override;
    bool is_lock(const void* address) const override {
        return address == header_->send_lock.address() || address == header_->receive_lock.address();
    }
    std::string name_of(const void* address) const override;

private:
    static constexpr unsigned kSlotsShown = 24;
    static constexpr unsigned kActorsShown = 32;
    static constexpr std::uint64_t kBytesMax = 4096;  // of a typed queue whose limit is not looked at

    // What the processes do.
    int send(objects::Queue& queue, std::uint64_t id, std::uint64_t key, bool waits);
    int receive(objects::Queue& queue, bool waits, objects::Selector wanted, std::uint64_t& id, std::uint64_t& key);
    int change(objects::Queue& queue);
    void poll(objects::Queue& queue, bool for_room, std::size_t at);
    void watch(objects::Queue& queue, bool by_word, std::size_t at);
    int move_message(objects::Queue& queue, char letter, std::size_t at);
    int perform(unsigned number, char letter, std::uint64_t seed);
    std::size_t begin_operation(Operation op);
    void end_operation(std::size_t at, int error);
    std::uint64_t word_of(std::uint64_t id, std::size_t index) const;

    // What is there when nothing can run any more.
    std::string find_stranded() const;
    std::string find_stranded(const Operation& op) const;
    bool given_by_the_dead(unsigned process) const;
    unsigned messages_there() const;
    std::uint64_t room() const;
    bool removed() const { return header_->object.removed.load_acquire() != 0; }
    std::string audit() const;

    objects::Queue& queue_of(unsigned number) { return *reinterpret_cast<objects::Queue*>(&queues_[number]); }
    objects::Slot& slot(unsigned number) const {
        return *reinterpret_cast<objects::Slot*>(start_ + header_->geometry.slots_offset +
                                                 number * header_->geometry.slot_stride);
    }
    static std::uint32_t memory_at(const std::uint32_t* word) { return *const_cast<const volatile std::uint32_t*>(word); }

    QueueShape shape_;
    int fd_, slots_fd_;
    objects::Queue queue_;
    objects::QueueHeader* header_ = nullptr;
    std::byte* start_ = nullptr;
    sync::Actor* actors_ = nullptr;
    Image image_;
    struct alignas(objects::Queue) Bytes {
        std::byte bytes[sizeof(objects::Queue)];
    };
    Bytes kept_;
    Bytes queues_[simulated::kProcessesMax];
    std::vector<Operation> operations_;
    std::uint64_t schedules_ = 0;  // so that the bytes of an earlier one's message are known for what they are
};

}  // namespace muster::test
