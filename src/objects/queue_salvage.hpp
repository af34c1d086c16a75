// Messages out of a damaged queue's file, for copying into another queue. The file is read with pread alone: it may be cut
// short, sparse, a copy from elsewhere, or be changing; nothing of it is trusted and nothing is written.
//
// Where the slots are is what has to be known first. The header's geometry is believed if it is what the engine would have planned
// from its first two numbers; if it is not, the numbers are looked for that would give a file of this length and slots
// whose headers make sense; or the caller says them. A slot is a message by its own word, unless the lists, if all of them still
// agree with each other, say otherwise (queue_evidence.hpp).
#pragma once
#include "objects/findings.hpp"
#include "objects/queue_layout.hpp"
#include "platform/outcome.hpp"

namespace muster::objects {

struct QueueShape {
    std::uint64_t messages_max = 0, message_bytes_max = 0;
    QueueFace face = QueueFace::priorities;
};

// How the shape was found.
enum class ShapeSource { header, file_length, given };

struct SalvagedMessage {
    const std::byte* bytes;  // good during the call
    std::uint64_t length, key, sequence;
};

struct QueueSalvage {
    QueueShape shape;
    ShapeSource source = ShapeSource::header;
    bool several_shapes = false;   // others would fit the file as well
    std::uint64_t messages = 0, bytes = 0;
    std::uint64_t slots = 0;       // looked at
    std::uint64_t broken = 0;      // slots whose message cannot be had
    std::uint64_t bytes_lost = 0;  // of those, as far as their headers tell
    std::uint64_t unfinished = 0;  // slots that somebody was filling: never sent
    std::uint64_t doubles = 0;     // copies of a message that was taken out already
};

// Calls `take(context, message)` for each message, oldest first, until it returns false. `slots_fd`: a typed queue's second file,
// else -1. `given` may be null. What is wrong with which slot goes to `findings`.
// Errors: EBADMSG nothing tells where the slots are; ENOMEM; EIO and the like: the file cannot be read; ECANCELED `take` said so.
using TakeMessage = bool (*)(void* context, const SalvagedMessage& message);
platform::Outcome<QueueSalvage> salvage_queue(int fd, int slots_fd, const QueueShape* given, TakeMessage take, void* context, Findings& findings);

// The shape that a damaged queue most likely has. Errors: EBADMSG, ENOMEM.
platform::Outcome<QueueShape> find_queue_shape(int fd, int slots_fd, ShapeSource& source, bool& several);

// Writes what of a queue's header follows from the rest of it and from the files: magic number, lengths, places, `ready`. Format and
// fingerprint are believed: another one is another version's. True: there was something to mend. Errors: EBADMSG it does not follow.
platform::Outcome<bool> mend_queue_header(int fd, int slots_fd);

}  // namespace muster::objects
