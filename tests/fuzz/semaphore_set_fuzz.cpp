// Semaphore sets, and the domain's file of lives: opening, each call.
#include "fuzz_image.hpp"
#include "muster/semaphore_set.hpp"
#include "objects/semaphore_set_layout.hpp"

using namespace muster;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::string path = [] {
        auto set = SemaphoreSet::create(fuzz::open_domain(), Key(7), {0, 3, 100, 1}).value();
        set.try_operate({{2, -3, true}, {1, -1}}).value();
        return fuzz::domain_path() + "/sysv/sem-" + std::to_string(set.identifier() % 32768);
    }();
    static const fuzz::Image image(path, {offsetof(objects::SemaphoreHeader, lock)}), lives(fuzz::domain_path() + "/lives");
    fuzz::Bytes input(data, size);
    const auto what = input.take<std::uint8_t>();
    lives.restore();
    if (what % 8 == 7) {
        image.restore();
        lives.lay_over(input);
    } else {
        image.lay_over(input);
    }
    const Domain domain = fuzz::open_domain();
    if (auto set = SemaphoreSet::open(domain, Key(7))) {
        (void)set->try_operate({{1, 1}});
        (void)set->try_operate({{0, -1}, {3, 1}});
        (void)set->try_operate({{2, -1, true}, {3, 0}});
        (void)set->status();
        (void)set->values();
        (void)set->waiters();
        (void)set->holders();
        (void)set->try_wait(2);
        (void)set->set(1, 3);
        (void)set->waiting(0);
    }
    if (what % 16 == 1) (void)domain.fsck(what % 32 == 1, path);
    if (what % 16 == 2) (void)domain.list();
    return 0;
}
