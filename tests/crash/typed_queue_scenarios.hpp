// What the processes of typed_queue_crash_test.cpp are at when one of them dies: the queue, who sleeps at it, the operation.
#pragma once
#include <cerrno>
#include <cstdint>
#include <ostream>
#include <vector>
#include "objects/type_index.hpp"

namespace muster::test::typed {

using objects::Selector;

enum class Op { send, receive, change, remove, recover, state, copy };
enum class Help { none, send, receive, interrupt };  // what the parent does once the victim sleeps
enum class WaitFor { never, briefly, forever };

struct Message {
    std::uint64_t type;
    std::uint32_t length = 64;
};
inline constexpr std::uint32_t kAnyLength = 0xffffffff;
struct Sleeper {
    bool receives;
    Message message = {1};            // of a sender
    Selector wanted = {};             // of a receiver
    std::uint32_t capacity = kAnyLength;
};
inline Sleeper receiver(Selector wanted, std::uint32_t capacity = kAnyLength) { return {true, {1}, wanted, capacity}; }
inline Sleeper sender(Message message) { return {false, message, {}, kAnyLength}; }

inline constexpr Selector kAny{Selector::any, 0};
inline Selector equal(std::uint64_t type) { return {Selector::equal, type}; }
inline Selector but(std::uint64_t type) { return {Selector::not_equal, type}; }
inline Selector lowest(std::uint64_t type) { return {Selector::lowest, type}; }

struct Scenario {
    const char* name;
    Op op;
    Message message = {1};                   // the victim's
    Selector wanted = kAny;
    std::uint32_t capacity = kAnyLength;
    bool truncate = false;
    std::vector<Message> queued = {};
    std::uint32_t copies = 1;                // of what is queued
    bool last_in_inbox = false;              // all but the last of it are in the index
    std::vector<Sleeper> sleepers = {};
    std::uint64_t bytes_max = 512, messages_max = 64, message_bytes_max = 512;
    std::uint64_t new_bytes_max = 0;         // of Op::change
    WaitFor wait = WaitFor::never;
    Help help = Help::none;
    Message helps = {1};
    int cycles = 0;                          // how often the queue has been filled and emptied before
    int stopped = 0;                         // so many sleepers, the longest waiting first, are stopped meanwhile
    bool bad_pointer = false;
    int error = 0;                           // what the operation gives
    std::uint32_t left = 0;                  // of what is queued so many are left, if not 0
};

inline constexpr std::uint32_t kKiB = 1024;
inline constexpr WaitFor kSleeps = WaitFor::forever, kBriefly = WaitFor::briefly;

inline const std::vector<Scenario>& scenarios() {
    static const std::vector<Message> some = {{1}, {2}, {3}}, full = {{1, 128}, {2, 128}, {1, 128}, {3, 128}};
    static const std::vector<Message> two_long = {{1, 100 * kKiB}, {2, 100 * kKiB}};
    static const std::vector<Scenario> all = {
        {.name = "send_to_empty", .op = Op::send},
        {.name = "send_to_partly_full", .op = Op::send, .message = {2}, .queued = some},
        {.name = "send_to_full_at_once", .op = Op::send, .queued = full, .error = EAGAIN},
        {.name = "send_to_full_timed", .op = Op::send, .queued = full, .wait = kBriefly, .error = ETIMEDOUT},
        {.name = "send_to_full_sleeping", .op = Op::send, .message = {4}, .queued = full, .wait = kSleeps, .help = Help::receive},
        {.name = "send_to_full_interrupted", .op = Op::send, .queued = full, .wait = kSleeps, .help = Help::interrupt, .error = EINTR},
        {.name = "send_to_full_count_sleeping", .op = Op::send, .queued = some, .messages_max = 3, .wait = kSleeps, .help = Help::receive},
        {.name = "send_beside_longer_sleeper", .op = Op::send, .message = {1, 100}, .queued = {{1, 200}, {2, 200}}, .sleepers = {sender({1, 200})}},
        {.name = "send_behind_sleeper", .op = Op::send, .message = {1, 32}, .queued = full, .sleepers = {sender({1, 32})}, .wait = kBriefly,
         .error = ETIMEDOUT},
        {.name = "send_to_receiver_of_its_type", .op = Op::send, .message = {7}, .queued = some, .sleepers = {receiver(equal(7))}},
        {.name = "send_past_receivers_of_other_types", .op = Op::send, .message = {7},
         .sleepers = {receiver(equal(8)), receiver(lowest(3)), receiver(but(7))}},
        {.name = "send_to_second_receiver", .op = Op::send, .message = {7}, .queued = some, .sleepers = {receiver(equal(8)), receiver(equal(7))}},
        {.name = "send_to_two_receivers_of_any", .op = Op::send, .sleepers = {receiver(kAny), receiver(kAny)}},
        {.name = "send_to_receiver_of_lowest", .op = Op::send, .message = {7}, .queued = {{9}},
         .sleepers = {receiver(lowest(8)), receiver(equal(7))}},
        {.name = "send_to_receiver_of_all_but", .op = Op::send, .message = {7}, .queued = {{9}}, .sleepers = {receiver(but(9))}},
        {.name = "send_to_small_buffer", .op = Op::send, .message = {7}, .queued = some, .sleepers = {receiver(equal(7), 20)}},
        {.name = "send_past_small_buffers", .op = Op::send, .message = {7},
         .sleepers = {receiver(kAny, 20), receiver(equal(8), 20), receiver(equal(7), 30), receiver(kAny)}},
        {.name = "send_to_stopped_receiver", .op = Op::send, .message = {7}, .sleepers = {receiver(equal(7)), receiver(kAny)}, .stopped = 1},
        {.name = "send_from_bad_pointer", .op = Op::send, .queued = some, .bad_pointer = true, .error = EFAULT},
        {.name = "send_to_full_beside_its_receiver", .op = Op::send, .message = {9}, .queued = full, .sleepers = {receiver(equal(9))},
         .wait = kSleeps, .help = Help::receive},
        {.name = "send_to_full_inbox", .op = Op::send, .queued = {{1}, {2}, {1}, {3}}, .copies = 256, .bytes_max = 70'000, .messages_max = 1100,
         .message_bytes_max = 64},
        {.name = "send_refilling", .op = Op::send, .queued = {{1}, {2}}, .copies = 512, .bytes_max = 70'000, .messages_max = 1100,
         .message_bytes_max = 64, .cycles = 60},
        {.name = "send_region", .op = Op::send, .message = {1, 5000}, .queued = {{1, 5000}, {2, 5000}}, .bytes_max = 20'000, .messages_max = 300,
         .message_bytes_max = 5000},
        {.name = "send_long_to_empty", .op = Op::send, .message = {1, 100 * kKiB}, .bytes_max = 300 * kKiB, .messages_max = 8,
         .message_bytes_max = 200 * kKiB},
        {.name = "send_long_to_receiver", .op = Op::send, .message = {7, 100 * kKiB}, .sleepers = {receiver(equal(8)), receiver(equal(7))},
         .bytes_max = 300 * kKiB, .messages_max = 8, .message_bytes_max = 200 * kKiB},
        {.name = "send_long_to_full_sleeping", .op = Op::send, .message = {7, 100 * kKiB}, .queued = two_long, .bytes_max = 250 * kKiB,
         .messages_max = 8, .message_bytes_max = 200 * kKiB, .wait = kSleeps, .help = Help::receive},
        {.name = "receive_the_only_one", .op = Op::receive, .queued = {{5}}},
        {.name = "receive_the_only_one_of_its_type", .op = Op::receive, .wanted = equal(5), .queued = {{5}}},
        {.name = "receive_equal_past_the_index", .op = Op::receive, .wanted = equal(5), .queued = {{1}, {2}, {1}, {5}}, .last_in_inbox = true},
        {.name = "receive_lowest_past_the_index", .op = Op::receive, .wanted = lowest(9), .queued = {{3}, {7}, {2}}, .last_in_inbox = true},
        {.name = "receive_all_but_past_the_index", .op = Op::receive, .wanted = but(3), .queued = {{3}, {3}, {7}}, .last_in_inbox = true},
        {.name = "receive_any", .op = Op::receive, .queued = some},
        {.name = "receive_equal", .op = Op::receive, .wanted = equal(2), .queued = {{1}, {2}, {1}, {2}}},
        {.name = "receive_all_but", .op = Op::receive, .wanted = but(1), .queued = {{1}, {1}, {3}, {2}}},
        {.name = "receive_lowest", .op = Op::receive, .wanted = lowest(3), .queued = {{4}, {3}, {2}, {2}}},
        {.name = "receive_from_full", .op = Op::receive, .queued = full},
        {.name = "receive_truncated", .op = Op::receive, .capacity = 20, .truncate = true, .queued = some},
        {.name = "receive_too_long", .op = Op::receive, .capacity = 20, .queued = some, .error = E2BIG},
        {.name = "receive_no_match_at_once", .op = Op::receive, .wanted = equal(9), .queued = some, .error = EAGAIN},
        {.name = "receive_no_match_timed", .op = Op::receive, .wanted = equal(9), .queued = some, .wait = kBriefly, .error = ETIMEDOUT},
        {.name = "receive_sleeping", .op = Op::receive, .wanted = equal(9), .queued = some, .wait = kSleeps, .help = Help::send, .helps = {9}},
        {.name = "receive_sleeping_too_long", .op = Op::receive, .wanted = lowest(9), .capacity = 20, .wait = kSleeps, .help = Help::send,
         .helps = {8}, .error = E2BIG},
        {.name = "receive_sleeping_truncated", .op = Op::receive, .wanted = lowest(9), .capacity = 20, .truncate = true, .wait = kSleeps,
         .help = Help::send, .helps = {8}},
        {.name = "receive_interrupted", .op = Op::receive, .wait = kSleeps, .help = Help::interrupt, .error = EINTR},
        {.name = "receive_behind_receivers", .op = Op::receive, .wanted = equal(9), .queued = {{1}},
         .sleepers = {receiver(equal(9)), receiver(equal(8))}, .wait = kBriefly, .error = ETIMEDOUT},
        {.name = "receive_sleeping_to_bad_pointer", .op = Op::receive, .wait = kSleeps, .help = Help::send, .bad_pointer = true, .error = EFAULT},
        {.name = "receive_to_bad_pointer", .op = Op::receive, .queued = some, .bad_pointer = true, .error = EFAULT},
        {.name = "receive_beside_sender", .op = Op::receive, .queued = full, .sleepers = {sender({4, 128})}},
        {.name = "receive_beside_senders_of_several_lengths", .op = Op::receive, .queued = full,
         .sleepers = {sender({4, 200}), sender({5, 60}), sender({6, 100}), sender({7, 60})}},
        {.name = "receive_beside_senders_too_long", .op = Op::receive, .wanted = equal(3), .queued = full, .sleepers = {sender({4, 200})}},
        {.name = "receive_beside_sender_of_count", .op = Op::receive, .wanted = equal(2), .queued = some, .sleepers = {sender({4}), sender({5})},
         .messages_max = 3},
        {.name = "receive_beside_stopped_sender", .op = Op::receive, .queued = full, .sleepers = {sender({4, 128}), sender({5, 128})}, .stopped = 1},
        {.name = "receive_promoting_to_receiver", .op = Op::receive, .queued = full,
         .sleepers = {receiver(equal(9)), sender({9, 128}), sender({8, 128})}},
        {.name = "receive_promoting_past_small_buffer", .op = Op::receive, .queued = full,
         .sleepers = {receiver(equal(9), 20), receiver(equal(8), 20), receiver(equal(9)), sender({9, 128})}},
        {.name = "receive_no_match_beside_sender", .op = Op::receive, .wanted = equal(9), .queued = full, .sleepers = {sender({9, 128})},
         .error = EAGAIN},
        {.name = "receive_after_full_inbox", .op = Op::receive, .wanted = lowest(2), .queued = {{3}, {2}}, .copies = 512, .bytes_max = 70'000,
         .messages_max = 1100, .message_bytes_max = 64},
        {.name = "receive_to_full_ring", .op = Op::receive, .queued = {{1}, {2}}, .copies = 20, .bytes_max = 70'000, .messages_max = 1100,
         .message_bytes_max = 64, .cycles = 1},
        {.name = "receive_long", .op = Op::receive, .wanted = equal(2), .queued = two_long, .bytes_max = 300 * kKiB, .messages_max = 8,
         .message_bytes_max = 200 * kKiB},
        {.name = "receive_long_sleeping", .op = Op::receive, .bytes_max = 300 * kKiB, .messages_max = 8, .message_bytes_max = 200 * kKiB,
         .wait = kSleeps, .help = Help::send, .helps = {4, 100 * kKiB}},
        {.name = "receive_long_beside_senders", .op = Op::receive, .queued = two_long,
         .sleepers = {sender({3, 100 * kKiB}), sender({4, 90 * kKiB})}, .bytes_max = 250 * kKiB, .messages_max = 8, .message_bytes_max = 200 * kKiB},
        {.name = "receive_trimming_slots", .op = Op::receive, .queued = {{1}}, .copies = 34'000, .bytes_max = 3'000'000, .messages_max = 40'000,
         .message_bytes_max = 64, .left = 1},
        {.name = "receive_trimming_regions", .op = Op::receive, .queued = {{1, 2048 * kKiB}}, .copies = 3, .bytes_max = 8192 * kKiB,
         .messages_max = 8, .message_bytes_max = 2048 * kKiB, .left = 1},
        {.name = "change_nothing", .op = Op::change, .queued = some, .new_bytes_max = 512},
        {.name = "change_raising_for_all", .op = Op::change, .queued = full, .sleepers = {sender({4, 128}), sender({5, 60}), receiver(equal(9))},
         .new_bytes_max = 1024},
        {.name = "change_raising_for_some", .op = Op::change, .queued = full, .sleepers = {sender({4, 200}), sender({5, 60})}, .new_bytes_max = 600},
        {.name = "change_raising_to_receiver", .op = Op::change, .queued = full, .sleepers = {receiver(equal(9)), sender({9, 128})},
         .new_bytes_max = 1024},
        {.name = "change_lowering", .op = Op::change, .queued = {{1, 200}, {1, 200}, {2, 100}},
         .sleepers = {sender({4, 128}), receiver(equal(9)), receiver(equal(8)), sender({9, 60})}, .new_bytes_max = 100},
        {.name = "remove_empty", .op = Op::remove},
        {.name = "remove_full", .op = Op::remove, .queued = full},
        {.name = "remove_under_receivers", .op = Op::remove, .queued = some, .sleepers = {receiver(equal(9)), receiver(equal(8))}},
        {.name = "remove_under_senders", .op = Op::remove, .queued = full, .sleepers = {sender({4}), sender({5, 100})}},
        {.name = "remove_under_both", .op = Op::remove, .queued = full,
         .sleepers = {sender({4}), receiver(equal(9)), sender({9}), receiver(equal(8))}},
        {.name = "remove_under_one", .op = Op::remove, .sleepers = {receiver(kAny)}},
        {.name = "remove_long", .op = Op::remove, .queued = two_long, .sleepers = {sender({4, 100 * kKiB}), receiver(equal(9))},
         .bytes_max = 250 * kKiB, .messages_max = 8, .message_bytes_max = 200 * kKiB},
        {.name = "state", .op = Op::state, .queued = some},
        {.name = "copy", .op = Op::copy, .queued = some},
        {.name = "recover_nothing", .op = Op::recover, .queued = some},
    };
    return all;
}

inline void PrintTo(const Scenario& scenario, std::ostream* out) { *out << scenario.name; }

}  // namespace muster::test::typed
