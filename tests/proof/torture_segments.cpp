// Attachments: attaches, detaches, unmaps parts, forks, executes programs, and knows how many mappings of each segment it has.
#include <algorithm>
#include <cerrno>
#include "torture_board.hpp"
#include "torture_library.hpp"

namespace muster::test::torture {
namespace {

class Attacher {
public:
    explicit Attacher(const Place& place) : place_(place), ids_(place.objects.segments), random_(place.seed) {}
    [[noreturn]] void work() {
        for (;;) {
            act(true);
            ++place_.desk.done;
            if (place_.board.pause == 0) continue;
            for (unsigned i = 0; i < kSegments; ++i) place_.desk.pieces[i] = pieces_of(i);
            place_.rest(place_.desk.paused);
        }
    }

private:
    struct Piece {
        unsigned segment;
        char* at;
        unsigned pages;  // a bit for each that is mapped
        int pieces() const { return __builtin_popcount(pages & ~(pages << 1)); }
    };
    int pieces_of(unsigned segment) const {
        int sum = 0;
        for (const Piece& piece : pieces_)
            if (piece.segment == segment) sum += piece.pieces();
        return sum;
    }
    void act(bool may_fork) {
        const unsigned what = random_.below(may_fork ? 12 : 10);
        if (what < 4) return attach();
        if (what >= 10) return branch();
        if (pieces_.empty()) return;
        Piece& piece = pieces_[random_.below(static_cast<unsigned>(pieces_.size()))];
        if (what < 7) detach(piece);
        else unmap_some(piece);
        if (piece.pages != 0) return;
        piece = pieces_.back();
        pieces_.pop_back();
    }
    void attach() {
        if (pieces_.size() >= 12) return;
        const unsigned segment = random_.below(kSegments);
        void* at = library().shmat(ids_[segment], nullptr, random_.once_in(3) ? SHM_RDONLY : 0);
        if (at == reinterpret_cast<void*>(-1)) place_.fail("shmat");
        // Where a part of another was, it could not be told from that one.
        auto* start = static_cast<char*>(at);
        const auto meets = [&](const Piece& other) { return start < other.at + kSegmentBytes && start + kSegmentBytes > other.at; };
        const bool confused = std::any_of(pieces_.begin(), pieces_.end(), meets);
        if (!confused) pieces_.push_back({segment, start, (1u << kPages) - 1});
        else if (library().shmdt(at) != 0) place_.fail("shmdt of a confused one");
    }
    void detach(Piece& piece) {
        if (library().shmdt(piece.at) != 0) place_.fail("shmdt");
        piece.pages = 0;
    }
    void unmap_some(Piece& piece) {
        unsigned page = random_.below(kPages), count = 1;
        while ((piece.pages >> page & 1) == 0) page = (page + 1) % kPages;
        while (!random_.once_in(3) && (piece.pages >> (page + count) & 1) != 0) ++count;
        if (library().munmap(piece.at + page * 4096, count * 4096) != 0) place_.fail("munmap");
        piece.pages &= ~(((1u << count) - 1) << page);
    }
    void branch() {
        const std::uint64_t seed = random_.next();
        const pid_t self = getpid();
        const pid_t child = fork();
        if (child < 0) place_.fail("fork");
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != self) _exit(0);
            live_short(seed);
        }
        ++place_.board.forks;
        if (random_.once_in(3)) kill(child, SIGKILL);
        int status = 0;
        if (waitpid(child, &status, 0) != child) place_.fail("waitpid");
        const bool well = (WIFEXITED(status) && WEXITSTATUS(status) == 0) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        if (!well) place_.fail("a child's status", status);
    }
    [[noreturn]] void live_short(std::uint64_t seed) {
        random_ = Random(seed);
        for (unsigned acts = random_.below(6); acts != 0; --acts) act(false);
        switch (random_.below(4)) {
            case 0: break;
            case 1: kill(getpid(), SIGKILL); break;
            case 2: std::exit(0);  // NOLINT(concurrency-mt-unsafe): the library's last words
            default: {
                std::string text = "attach " + std::to_string(random_.below(1'000'000));
                for (const int id : ids_) text += " " + std::to_string(id);
                start_anew(place_, text, false);
            }
        }
        _exit(0);
    }

    const Place& place_;
    const std::vector<int>& ids_;
    Random random_;
    std::vector<Piece> pieces_;
};

}  // namespace

void attach_for_ever(const Place& place) { Attacher(place).work(); }

}  // namespace muster::test::torture
