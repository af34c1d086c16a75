// What all trades share: ending badly, resting, starting anew as another program.
#include <cerrno>
#include <cstring>
#include "torture_board.hpp"
#include "torture_library.hpp"
#include "torture_scene.hpp"

namespace muster::test::torture {
namespace {

std::vector<unsigned> numbers_in(const char* text) {
    std::vector<unsigned> numbers;
    for (char* end = nullptr; *text != 0; text = *end == 0 ? end : end + 1)
        numbers.push_back(static_cast<unsigned>(std::strtoul(text, &end, 10)));
    return numbers;
}

[[noreturn]] void give_back(const std::vector<unsigned>& numbers) {
    std::vector<sembuf> ops;
    for (std::size_t i = 1; i + 1 < numbers.size(); i += 2)
        ops.push_back({static_cast<unsigned short>(numbers[i]), static_cast<short>(numbers[i + 1]), SEM_UNDO});
    _exit(library().semop(static_cast<int>(numbers[0]), ops.data(), ops.size()) == 0 ? 0 : 4);
}

[[noreturn]] void attach_a_while(const std::vector<unsigned>& numbers) {
    Random random(numbers[0]);
    for (unsigned round = random.below(20); round != 0; --round) {
        const int id = static_cast<int>(numbers[1 + random.below(static_cast<unsigned>(numbers.size() - 1))]);
        void* at = library().shmat(id, nullptr, 0);
        if (at == reinterpret_cast<void*>(-1)) _exit(errno == EINVAL || errno == EIDRM ? 0 : 5);
        if (random.once_in(2) && library().shmdt(at) != 0) _exit(6);
    }
    if (random.once_in(2)) _exit(0);
    kill(getpid(), SIGKILL);
    _exit(7);
}

__attribute__((constructor)) void live_anew() {
    const char* text = std::getenv(kAnew);
    if (text == nullptr) return;
    if (std::strncmp(text, "undo ", 5) == 0) give_back(numbers_in(text + 5));
    if (std::strncmp(text, "attach ", 7) == 0) attach_a_while(numbers_in(text + 7));
    if (std::strncmp(text, "care ", 5) == 0) take_care(text + 5);
    _exit(0);
}

}  // namespace

void Place::fail(const char* what, long number) const {
    desk.error = errno;
    std::snprintf(desk.complaint, sizeof desk.complaint, "%s (%ld): %s", what, number, std::strerror(desk.error));
    _exit(20);
}

bool Place::rest(std::atomic<int>& paused) const {
    if (board.pause == 0) return false;
    paused = 1;
    while (board.pause != 0) usleep(100);
    paused = 0;
    return true;
}

void start_anew(const Place& place, const std::string& text, bool itself) {
    ++place.board.execs;
    if (itself) place.desk.anew = 1;
    setenv(kAnew, text.c_str(), 1);
    execl("/proc/self/exe", "anew", nullptr);
    _exit(3);
}

void count_handler(int) {
    if (handler_count != nullptr) ++*handler_count;
}

}  // namespace muster::test::torture
