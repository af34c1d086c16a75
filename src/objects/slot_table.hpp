// Where the slots of a queue are, in this process; the numbers are checked copies.
#pragma once
#include "objects/queue_layout.hpp"

namespace muster::objects {

struct SlotTable {
    std::byte* first;
    std::uint32_t count;
    std::uint32_t stride_bytes;
    Slot& operator[](std::uint32_t slot) const { return *reinterpret_cast<Slot*>(first + std::size_t{slot} * stride_bytes); }
};

}  // namespace muster::objects
