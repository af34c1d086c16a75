// What is in a queue, judged from two witnesses.
//
// The slots say what they are; the lists, rings and indexes name the same slots again. Where damage has come over one of
// the two, the other one tells what was there. The lists are believed against a slot's own word only if all of them
// agree with each other to the last slot: else the slots' states are the truth, as the protocol has it.
//
// Works on a queue in use, both locks held, as on a private copy of a damaged file. Every number read is checked before it is used.
#pragma once
#include "objects/findings.hpp"
#include "objects/priority_index.hpp"
#include "objects/queue_layout.hpp"
#include "objects/type_index.hpp"
#include "platform/outcome.hpp"

namespace muster::objects {

// Where the parts of a queue are, from checked numbers.
struct QueueView {
    const QueueHeader* header;
    const memory::ShmU32* inbox;
    const memory::ShmU32* returned;
    std::uint32_t ring_mask;
    SlotTable slots;
    const PriorityIndex* index;  // of a POSIX queue
    const TypeIndex* types;      // of a typed one; else null
    sync::Actor* actors;
    std::uint32_t actors_count;
    std::uint64_t message_bytes_max;
    std::uint32_t inline_bytes;
    bool has_regions;
    std::uint64_t lanes_reserved, lanes_offset;
    std::uint32_t slots_present;  // slots from here on have no memory, whatever the header says

    bool is_key(std::uint64_t key) const { return types != nullptr ? key - 1 < INT64_MAX : key < kPriorities; }
    bool is_length(std::uint64_t length) const { return length <= message_bytes_max && (length <= inline_bytes || has_regions); }
};

class QueueEvidence {
public:
    enum class Verdict {
        free,     // no message
        message,
        held,     // in the hands of a living thread
        broken,   // a message whose header cannot be: it is lost
    };

    explicit QueueEvidence(const QueueView& view) : view_(view) {}
    ~QueueEvidence();
    QueueEvidence(const QueueEvidence&) = delete;

    // Follows every list, ring and index, and tells what is wrong with them. Errors: ENOMEM.
    platform::Outcome<> gather(Findings& findings);
    // The verdict about a slot below used(), after gather(). `tell`: what its word and the lists do not agree about.
    Verdict judge(std::uint32_t number, Findings* tell = nullptr) const;
    // Slots at or above this were never used.
    std::uint32_t used() const { return used_; }
    // Whether lists, rings and indexes agree with each other to the last slot.
    bool lists_agree() const { return agree_; }
    // The priority or type of the message in a slot: the slot's own, or that of the lane it stands in if all but that agrees.
    std::uint64_t key_of(std::uint32_t number) const;

private:
    static constexpr std::uint8_t kFree = 1, kInbox = 2, kIndexed = 4;

    const Slot& slot(std::uint32_t number) const { return view_.slots[number]; }
    // One more place in which the slot stands; false if it stands somewhere already, or is none.
    bool mark(std::uint32_t number, std::uint8_t where);
    void follow_list(std::uint32_t at, const char* name, Findings& findings);
    void follow_rings(Findings& findings);
    void follow_index(Findings& findings);
    void look_for_strays(Findings& findings);
    bool is_held(std::uint32_t number, std::uint32_t word) const;
    bool could_be_message(std::uint32_t number) const;
    Verdict by_own_word(std::uint32_t number) const;

    QueueView view_;
    std::uint8_t* marks_ = nullptr;
    std::uint64_t marks_bytes_ = 0;
    std::uint32_t used_ = 0;
    std::uint64_t indexed_ = 0;
    bool agree_ = true;
    std::uint32_t wrong_keys_ = 0, wrong_key_slot_ = 0;
    std::uint64_t right_key_ = 0;
};

}  // namespace muster::objects
