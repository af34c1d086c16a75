// Attacks on objects that a crowd of processes is working with. Proved: while somebody writes random bytes at random places of the mapped
// files, puts old images back, cuts, empties, exchanges or replaces the files, no process of the crowd crashes, every blocking call ends
// within its time-out and a generous margin, a sound object of each kind beside them keeps what it holds and works, and afterwards
// the victims can be removed, made again and used. Lock words are left alone: one that names somebody living is waited for.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <functional>
#include "objects/queue_layout.hpp"
#include "objects/segment_layout.hpp"
#include "objects/semaphore_set_layout.hpp"
#include "proof/hostile_live.hpp"

namespace {

using namespace muster::test;
using namespace muster::test::hostile;
namespace objects = muster::objects;

constexpr std::chrono::seconds kMargin{15};

class HostileLive : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(Controls::make());
        ASSERT_EQ(Controls::in_a_child([] { return make_victims() ? 0 : 1; }), 0);
    }
    void start_crowd() {
        for (unsigned n = 0; n < Crowd::kWorkers; ++n) workers_.emplace_back([this, n] { work(*crowd_, n); });
    }
    void end_crowd(const std::string& during) {
        crowd_->stop.store(true);
        for (unsigned n = 0; n < workers_.size(); ++n) {
            EXPECT_TRUE(workers_[n].ends(kMargin)) << "worker " << n << " does not end, in " << crowd_->workers[n].call.load() << ", after " << during;
            EXPECT_TRUE(workers_[n].exited()) << "worker " << n << ", status " << workers_[n].status() << ", in " << crowd_->workers[n].call.load() << ", after " << during;
        }
        workers_.clear();
    }
    // Whatever stands under the victims' names goes; new ones are made, and a crowd that nobody attacks works.
    void begin_anew(const std::string& after) {
        const std::string& domain = domain_.path();
        EXPECT_EQ(Controls::in_a_child([&] { return remove_victims(domain), 0; }), 0) << after;
        EXPECT_EQ(Controls::in_a_child([] { return make_victims() ? 0 : 1; }), 0) << "made again after " << after;
        EXPECT_EQ(Controls::check(), 0) << "controls after " << after;
    }
    OwnDomain domain_;
    Shared<Crowd> crowd_;
    std::vector<Child> workers_;
};

bool is_lock(const std::string& path, std::uint64_t at) {
    const auto within = [at](std::uint64_t word) { return at / 4 == word / 4; };
    if (path.find(".data") != std::string::npos) return false;
    if (path.find("/sem-") != std::string::npos) return within(offsetof(objects::SemaphoreHeader, lock));
    if (path.find("/shm-") != std::string::npos) return within(offsetof(objects::SegmentControl, lock));
    return within(offsetof(objects::QueueHeader, send_lock)) || within(offsetof(objects::QueueHeader, receive_lock));
}

// One file of the victims, mapped, and what it was like.
struct Target {
    std::string path;
    unsigned char* at = nullptr;
    std::size_t bytes = 0;
    std::vector<std::uint64_t> pages;  // with memory
    explicit Target(const std::string& file) : path(file) {
        const int fd = open(file.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
        struct stat status;
        if (fd < 0 || fstat(fd, &status) != 0) return;
        bytes = static_cast<std::size_t>(status.st_size);
        for (off_t place = 0; (place = lseek(fd, place, SEEK_DATA)) >= 0 && static_cast<std::size_t>(place) < bytes; place += 4096)
            pages.push_back(static_cast<std::uint64_t>(place) / 4096 * 4096);
        void* mapped = bytes == 0 ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (mapped != MAP_FAILED) at = static_cast<unsigned char*>(mapped);
        close(fd);
    }
    Target(Target&& o) noexcept : path(std::move(o.path)), at(std::exchange(o.at, nullptr)), bytes(o.bytes), pages(std::move(o.pages)) {}
    ~Target() {
        if (at != nullptr) munmap(at, bytes);
    }
};

// Writes random bytes until it is killed; now and then the sound page of before; now and then all is made anew.
void flip(Crowd& crowd, const std::string& domain, std::uint64_t seed) {
    Random random(seed);
    for (;;) {
        std::vector<Target> targets;
        std::vector<std::pair<unsigned, std::vector<unsigned char>>> sound;
        for (const std::string& file : victim_files(domain)) {
            Target target(file);
            if (target.at != nullptr && !target.pages.empty()) targets.push_back(std::move(target));
        }
        for (unsigned n = 0; n < targets.size(); ++n) sound.emplace_back(n, std::vector<unsigned char>(targets[n].at, targets[n].at + 4096));
        const unsigned rounds = 20 + random.below(200);
        for (unsigned round = 0; !targets.empty() && round < rounds; ++round) {
            Target& target = targets[random.below(static_cast<unsigned>(targets.size()))];
            const std::uint64_t page = target.pages[random.below(static_cast<unsigned>(target.pages.size()))];
            const unsigned width = 1u << random.below(4), within = random.once_in(2) ? 1024 : 4096;
            const std::uint64_t at = std::min<std::uint64_t>(page + random.below(within) / width * width, target.bytes - 8);
            const std::uint64_t value = random.once_in(2) ? random.next() : random.below(8);
            if (!is_lock(target.path, at) && !is_lock(target.path, at + width - 1)) {
                std::memcpy(target.at + at, &value, width);
                crowd.flips.fetch_add(1, std::memory_order_relaxed);
            }
            if (random.once_in(32)) {
                const auto& [n, bytes] = sound[random.below(static_cast<unsigned>(sound.size()))];
                for (std::uint64_t byte = 0; byte < bytes.size(); ++byte)
                    if (!is_lock(targets[n].path, byte)) targets[n].at[byte] = bytes[byte];
                crowd.restores.fetch_add(1, std::memory_order_relaxed);
            }
            usleep(random.below(400));
        }
        targets.clear();
        remove_victims(domain);
        (void)make_victims();
        crowd.renewals.fetch_add(1, std::memory_order_relaxed);
    }
}

TEST_F(HostileLive, RandomBytesUnderACrowd) {
    start_crowd();
    Child flipper([&] { flip(*crowd_, domain_.path(), proof_seed()); });
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(short_or_long(2000, 60'000));
    std::string wrong;
    while (wrong.empty() && std::chrono::steady_clock::now() < end) {
        usleep(20'000);
        wrong = look_after(workers_, *crowd_, kMargin);
    }
    EXPECT_EQ(wrong, "") << "MUSTER_PROOF_SEED=" << proof_seed();
    const bool alive = !flipper.ended();
    EXPECT_TRUE(alive) << "who flips and makes anew died, status " << flipper.status();
    flipper = Child();
    end_crowd("random bytes, MUSTER_PROOF_SEED=" + std::to_string(proof_seed()));
    begin_anew("random bytes");
    std::uint64_t calls = 0, refused = 0;
    for (const Worker& worker : crowd_->workers) {
        EXPECT_GT(worker.calls.load(), 0u);
        calls += worker.calls.load(), refused += worker.refused.load();
    }
    figure("hostile_live", "random bytes under a crowd of %u: %lu writes, %lu old pages put back, %lu times made anew; %lu calls, %lu refused, longest %.1f ms",
           Crowd::kWorkers, crowd_->flips.load(), crowd_->restores.load(), crowd_->renewals.load(), calls, refused,
           static_cast<double>(crowd_->longest_us.load()) / 1000);
}

struct Attack {
    const char* name;
    std::function<void(const std::string& path, const std::string& other)> make;
};

const std::vector<Attack>& attacks() {
    const auto with = [](const std::string& path, auto act) {
        const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
        struct stat status {};
        if (fd < 0) return;
        (void)fstat(fd, &status);
        act(fd, status.st_size);
        close(fd);
    };
    static const std::vector<Attack> all = {
        {"cut to nothing", [=](auto& p, auto&) { with(p, [](int fd, off_t) { (void)!ftruncate(fd, 0); }); }},
        {"cut to a page", [=](auto& p, auto&) { with(p, [](int fd, off_t) { (void)!ftruncate(fd, 4096); }); }},
        {"cut in half", [=](auto& p, auto&) { with(p, [](int fd, off_t bytes) { (void)!ftruncate(fd, bytes / 2); }); }},
        {"made longer", [=](auto& p, auto&) { with(p, [](int fd, off_t bytes) { (void)!ftruncate(fd, bytes * 2 + 1); }); }},
        {"emptied by holes", [=](auto& p, auto&) { with(p, [](int fd, off_t bytes) { (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, bytes); }); }},
        {"a hole for the first page", [=](auto& p, auto&) { with(p, [](int fd, off_t) { (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096); }); }},
        {"a hole behind it", [=](auto& p, auto&) { with(p, [](int fd, off_t bytes) { (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, bytes); }); }},
        {"another file in its place", [](auto& p, auto& o) {
             std::error_code ignored;
             std::filesystem::copy_file(o, p + ".new", ignored);
             (void)std::rename((p + ".new").c_str(), p.c_str());
         }},
        {"exchanged with another's", [](auto& p, auto& o) { (void)syscall(SYS_renameat2, AT_FDCWD, p.c_str(), AT_FDCWD, o.c_str(), 2u); }},
        {"mode 0", [](auto& p, auto&) { (void)chmod(p.c_str(), 0); }},
        {"deleted", [](auto& p, auto&) { (void)unlink(p.c_str()); }},
        {"a FIFO", [](auto& p, auto&) { (void)unlink(p.c_str()), (void)mkfifo(p.c_str(), 0600); }},
        {"a symbolic link", [](auto& p, auto& o) { (void)unlink(p.c_str()), (void)!symlink(o.c_str(), p.c_str()); }},
        {"a link to itself", [](auto& p, auto&) { (void)unlink(p.c_str()), (void)!symlink(p.c_str(), p.c_str()); }},
        {"a directory", [](auto& p, auto&) { (void)unlink(p.c_str()), (void)mkdir(p.c_str(), 0700); }},
        {"noise", [=](auto& p, auto&) { with(p, [](int fd, off_t) {
             char text[8192];
             Random random(7);
             for (char& c : text) c = static_cast<char>(random.next());
             (void)!pwrite(fd, text, sizeof text, 512);
         }); }},
    };
    return all;
}

// Each attack on each file of the victims, first while the crowd works with them, then met by processes that come afterwards.
TEST_F(HostileLive, FilesTakenAwayUnderACrowd) {
    const std::size_t files = victim_files(domain_.path()).size();
    ASSERT_EQ(files, 5u);
    std::uint64_t calls = 0, refused = 0, made = 0;
    const unsigned times = short_or_long(1u, 2u);
    for (unsigned time = 0; time < times; ++time)
        for (unsigned number = 0; number < attacks().size() && !HasFailure(); ++number) {
            const Attack& attack = attacks()[number];
            for (std::size_t which = 0; which < files; ++which) {
                if (!long_form() && ((which + number) % files != 0 || (number + proof_seed()) % 3 != 0)) continue;  // another third by another seed
                const std::vector<std::string> paths = victim_files(domain_.path());
                ASSERT_EQ(paths.size(), files);
                const std::string during = std::string(attack.name) + ": " + paths[which];
                crowd_->stop.store(false);
                std::uint64_t before[Crowd::kWorkers];
                for (unsigned n = 0; n < Crowd::kWorkers; ++n) before[n] = crowd_->workers[n].rounds.load();
                const auto all_move = [&] {
                    for (unsigned n = 0; n < Crowd::kWorkers; ++n)
                        if (crowd_->workers[n].rounds.load() < before[n] + 2) return false;
                    return true;
                };
                start_crowd();
                EXPECT_TRUE(eventually(all_move)) << "before " << during;
                attack.make(paths[which], paths[(which + 1) % paths.size()]);
                for (unsigned n = 0; n < Crowd::kWorkers; ++n) before[n] = crowd_->workers[n].rounds.load();
                EXPECT_TRUE(eventually(all_move, kMargin)) << during << "; " << look_after(workers_, *crowd_, std::chrono::seconds(2));
                end_crowd(during);
                // Who comes now.
                crowd_->stop.store(false);
                for (unsigned n = 0; n < Crowd::kWorkers; ++n) before[n] = crowd_->workers[n].rounds.load();
                start_crowd();
                EXPECT_TRUE(eventually(all_move, kMargin)) << "afterwards, " << during << "; " << look_after(workers_, *crowd_, std::chrono::seconds(2));
                end_crowd("afterwards, " + during);
                begin_anew(during);
                ++made;
            }
        }
    for (const Worker& worker : crowd_->workers) calls += worker.calls.load(), refused += worker.refused.load();
    figure("hostile_live", "files taken away under a crowd of %u: %zu attacks, %lu times; %lu calls, %lu refused, longest %.1f ms", Crowd::kWorkers,
           attacks().size(), made, calls, refused, static_cast<double>(crowd_->longest_us.load()) / 1000);
}

}  // namespace
