// Staging for hostile_bytes_test: sleepers that are there, or were.
#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>
#include "proof/hostile_bytes.hpp"
#include "proof/hostile_controls.hpp"
#include "support/child.hpp"
#include "sync/actor_layout.hpp"

namespace muster::test::hostile {

inline void require(int status, const char* what) {
    if (status != 0) throw std::runtime_error(std::string(what) + " could not be staged: " + std::to_string(status));
}
inline std::uint64_t actor_field(std::uint64_t actors_at, std::uint32_t number, std::size_t field) {
    return actors_at + number * sizeof(sync::Actor) + field;
}
inline void wait_for_sleeper(const ImageFile& file, std::uint64_t actors_at, std::uint32_t number, Child& sleeper) {
    const bool asleep = eventually([&] {
        return sync::state_of(file.get<std::uint32_t>(actor_field(actors_at, number, offsetof(sync::Actor, word)))) == sync::ActorState::asleep && sleeper.asleep();
    });
    require(asleep ? 0 : 1, "a sleeper");
}
// They sleep on as far as the file says, and are the process that calls this: one that lives, but never comes.
inline void stop_sleepers(ImageFile& file, std::uint64_t actors_at, std::vector<Child>& sleepers) {
    for (Child& sleeper : sleepers) {
        sleeper.kill(SIGSTOP);
        if (!eventually([&] { return process_state(sleeper.pid()) == 'T'; })) require(1, "a stopped sleeper");
    }
    file.take();
    for (Child& sleeper : sleepers) sleeper = Child();
    file.restore();
    for (std::uint32_t number = 0; number < sleepers.size(); ++number) {
        const auto own = static_cast<std::uint32_t>(getpid());
        file.put(actor_field(actors_at, number, offsetof(sync::Actor, life)), own | kWaiters);
        file.put(actor_field(actors_at, number, offsetof(sync::Actor, thread_id)), own);
        file.put(actor_field(actors_at, number, offsetof(sync::Actor, process_id)), own);
    }
}
// A record of somebody who died asleep.
inline void put_dead_actor(const ImageFile& file, std::uint64_t actors_at, std::uint32_t number) {
    file.put(actor_field(actors_at, number, offsetof(sync::Actor, life)), kOwnerDied | kWaiters | kNoSuchThread);
    file.put(actor_field(actors_at, number, offsetof(sync::Actor, word)), sync::with_state(sync::kActorWord, sync::ActorState::asleep));
}

}  // namespace muster::test::hostile
