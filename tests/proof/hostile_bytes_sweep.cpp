// Numbering the cases, running the victims, watching them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include "proof/hostile_bytes.hpp"
#include "proof/hostile_controls.hpp"
#include "support/child.hpp"
#include "support/proof.hpp"

namespace muster::test::hostile {
namespace {

constexpr unsigned kBatch = 8192;            // cases of one victim at most
constexpr std::chrono::seconds kStuck{10};   // a victim that does not move for so long hangs
constexpr unsigned kTooMany = 6;             // findings after which a sweep ends

struct Damage {
    const Table* table;
    std::uint64_t at;
    unsigned width;
    std::uint64_t value;
};

std::vector<std::uint64_t> word_values(const Subject& subject) {
    std::vector<std::uint64_t> values{0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 63, 64, 65, 4095, 4096, 4097, 32767, 32768, 65535, 65536,
                                      0x7fff'ffff, 0x8000'0000, 0xffff'fffe, 0xffff'ffff, 0x4000'0000, 0x2000'0000, 0x2000'0001};
    for (const std::uint64_t value : subject.interesting) values.insert(values.end(), {value - 1, value, value + 1});
    for (const auto& file : subject.files) values.insert(values.end(), {file->bytes() - 1, file->bytes(), file->bytes() + 1});
    for (const Table& table : subject.tables) values.push_back(table.at);
    values.insert(values.end(), {~0ull, ~0ull - 1, 1ull << 63, (1ull << 63) - 1, 1ull << 62, 1ull << 47, 1ull << 32});
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
}

// Cases in this order: per table all bytes x values, then its words of four bytes, then those of eight.
class Cases {
public:
    explicit Cases(const Subject& subject) : subject_(subject), words_(word_values(subject)) {
        for (const Table& table : subject.tables) {
            total_ += bytes_of(table) + table.bytes / 4 * words_.size() + table.bytes / 8 * words_.size();
            bytes_ += bytes_of(table);
        }
    }
    std::uint64_t total() const { return total_; }
    std::uint64_t byte_cases() const { return bytes_; }
    Damage at(std::uint64_t number) const {
        for (const Table& table : subject_.tables) {
            const std::uint64_t fours = table.bytes / 4 * words_.size(), eights = table.bytes / 8 * words_.size();
            if (number < bytes_of(table)) return byte(table, number);
            number -= bytes_of(table);
            if (number < fours) return {&table, table.at + number / words_.size() * 4, 4, words_[number % words_.size()]};
            number -= fours;
            if (number < eights) return {&table, table.at + number / words_.size() * 8, 8, words_[number % words_.size()]};
            number -= eights;
        }
        return {};
    }
    static std::string text(const Damage& damage) {
        char text[160];
        std::snprintf(text, sizeof text, "%s: %u bytes at %" PRIu64 " set to %#" PRIx64, damage.table->name, damage.width, damage.at, damage.value);
        return text;
    }

private:
    static constexpr unsigned kFew[] = {0, 1, 0x7f, 0x80, 0xff, 0x55, 4, 0x20};
    static std::uint64_t bytes_of(const Table& table) { return table.bytes * (table.dense ? 256ull : std::size(kFew)); }
    static Damage byte(const Table& table, std::uint64_t number) {
        if (table.dense) return {&table, table.at + number / 256, 1, number % 256};
        return {&table, table.at + number / std::size(kFew), 1, kFew[number % std::size(kFew)]};
    }
    const Subject& subject_;
    std::vector<std::uint64_t> words_;
    std::uint64_t total_ = 0, bytes_ = 0;
};

// Whether a lock word says now that it is in the hands of somebody who lives, as far as anyone can tell.
bool is_living(std::uint32_t thread) {
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%u", thread);
    return thread != 0 && access(path, F_OK) == 0;
}
bool held_by_the_living(const Subject& subject) {
    for (const auto& [file, at] : subject.locks) {
        const auto word = subject.files[file]->get<std::uint32_t>(at);
        if ((word & ~kWaiters) == 0 || (word & kOwnerDied) != 0) continue;
        if ((word & kHeldByActor) != 0) {
            const std::uint32_t number = word & (kNoSuchThread - 1);
            if (subject.actors == 0 || number >= subject.actors) continue;
            const auto life = subject.files[file]->get<std::uint32_t>(subject.actors_at + number * 64ull);
            if ((life & kOwnerDied) == 0 && is_living(life & ~(kOwnerDied | kWaiters))) return true;
        } else if ((word & 0x1fc0'0000) == 0 && is_living(word & (kNoSuchThread - 1))) {
            return true;
        }
    }
    return false;
}

bool apply(const Subject& subject, const Damage& damage) {
    for (const auto& file : subject.files) file->restore_hot();
    unsigned char* at = subject.files[damage.table->file]->at(damage.at);
    if (std::memcmp(at, &damage.value, damage.width) == 0) return false;
    std::memcpy(at, &damage.value, damage.width);
    return !held_by_the_living(subject);
}

struct Plan {
    const Cases& cases;
    std::uint64_t runs;
    bool sampled;
    std::uint64_t number(std::uint64_t run) const {
        return sampled ? Random(proof_seed() * 0x10001 + run).next() % cases.total() : run;
    }
};

void be_a_victim(Subject& subject, Met met, const Plan& plan, std::uint64_t from, std::uint64_t to, const std::string& domain, Progress& progress) {
    Journal journal(progress);
    subject.begin(met);
    if (met == Met::known) guard_mappings(domain);
    for (std::uint64_t run = from; run < to; ++run) {
        const Damage damage = plan.cases.at(plan.number(run));
        journal.begin(run);
        if (met == Met::late) {
            for (const auto& file : subject.files) file->restore_hot();
            subject.before_late(journal);
        }
        if (!apply(subject, damage)) {
            ++progress.skipped;
            continue;
        }
        const auto before = std::chrono::steady_clock::now();
        subject.meet(journal, met);
        const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - before).count();
        if (static_cast<std::uint64_t>(took) > progress.longest_us.load(std::memory_order_relaxed)) {
            progress.longest_us.store(static_cast<std::uint64_t>(took));
            progress.longest_case.store(run);
        }
        progress.cases.store(progress.cases.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    progress.case_number.store(to);
}

std::string name_of(int error) {
    const char* name = strerrorname_np(error);
    return name != nullptr && error != 0 ? name : "errno " + std::to_string(error);
}

// Empty when the victim did all it had to; else what became of it.
std::string watch(Child& victim, const Progress& progress) {
    std::uint64_t seen = ~0ull;
    auto moved = std::chrono::steady_clock::now();
    for (unsigned looks = 0; !victim.ended(); ++looks) {
        const std::uint64_t steps = progress.steps.load() + progress.skipped.load();
        if (steps != seen) seen = steps, moved = std::chrono::steady_clock::now();
        if (std::chrono::steady_clock::now() - moved > kStuck) return "hangs";
        usleep(looks < 100 ? 200 : 2000);
    }
    if (victim.exited()) return {};
    if (WIFSIGNALED(victim.status())) return "was killed by signal " + std::to_string(WTERMSIG(victim.status()));
    return "ended with status " + std::to_string(WEXITSTATUS(victim.status()));
}

}  // namespace

void sweep(Subject& subject, Met met, const Effort& effort) {
    const std::string domain = getenv("MUSTER_DOMAIN");
    const char* how = met == Met::known ? "mapped before the damage" : "opened after it";
    for (const auto& file : subject.files) file->take();
    for (const auto* written : {&subject.tables, &subject.also_written})
        for (const Table& table : *written) subject.files[table.file]->also(table.at, table.bytes);
    const Cases cases(subject);
    const Plan plan{cases, effort.cases != 0 ? std::min(effort.cases, cases.total()) : cases.total(), effort.cases != 0};
    std::uint64_t from = 0, end = plan.runs;
    if (const char* one = std::getenv("MUSTER_HOSTILE_RUN")) from = std::strtoull(one, nullptr, 0), end = std::min(end, from + 1);
    Shared<Progress> progress;
    unsigned bad = 0;
    const auto begun = std::chrono::steady_clock::now();
    while (from < end && bad < kTooMany) {
        for (const auto& file : subject.files) file->restore();
        const std::uint64_t to = std::min(end, (from / kBatch + 1) * kBatch);
        Child victim([&] { be_a_victim(subject, met, plan, from, to, domain, *progress); });
        const std::string became = watch(victim, *progress);
        victim = Child();
        const std::uint64_t at = progress->case_number.load();
        if (!became.empty()) {
            ++bad;
            ADD_FAILURE() << subject.name() << ", " << how << ": in " << progress->call.load() << " a process " << became << ". "
                          << Cases::text(cases.at(plan.number(at))) << ". Again: MUSTER_PROOF_SEED=" << proof_seed()
                          << (long_form() ? " MUSTER_PROOF=long" : "") << " MUSTER_HOSTILE_RUN=" << at << " (batch of " << from << ")";
        }
        from = became.empty() ? to : at + 1;
        for (const auto& file : subject.files) file->restore();
        const int harmed = Controls::check();
        EXPECT_EQ(harmed, 0) << subject.name() << ": a sound object beside it came to harm before run " << from;
        if (harmed != 0) break;
    }
    for (unsigned n = 0; n < std::min(progress->surprise_count.load(), 32u); ++n) {
        const Progress::Surprise& s = progress->surprises[n];
        ADD_FAILURE() << subject.name() << ", " << how << ": " << s.call << " gave errno " << s.error << ", which it does not have, " << s.times
                      << " times, first in run " << s.case_number << ": " << Cases::text(cases.at(plan.number(s.case_number)));
    }
    std::string errors;
    for (int error = 0; error < 256; ++error)
        if (progress->errnos[error] != 0) errors += std::string(errors.empty() ? "" : ", ") + name_of(error) + " " + std::to_string(progress->errnos[error].load());
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    figure(effort.part, "%s, %s: %" PRIu64 " of %" PRIu64 " damages (%" PRIu64 " byte values) met, %" PRIu64 " changed nothing or named the living, %" PRIu64
           " calls, %" PRIu64 " refused (%s), longest case %.1f ms (run %" PRIu64 "), %u bad, %.1f s",
           subject.name().c_str(), how, progress->cases.load(), cases.total(), cases.byte_cases(), progress->skipped.load(), progress->calls.load(),
           progress->failures.load(), errors.c_str(), static_cast<double>(progress->longest_us.load()) / 1000, progress->longest_case.load(), bad, seconds);
}

bool Journal::judge(long result, int error, std::initializer_list<int> allowed) {
    progress_.calls.store(progress_.calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (result >= 0) return true;
    progress_.failures.store(progress_.failures.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    ++progress_.errnos[error & 255];
    if (std::find(allowed.begin(), allowed.end(), error) != allowed.end()) return true;
    const char* name = progress_.call.load(std::memory_order_relaxed);
    unsigned n = 0;
    const unsigned count = std::min(progress_.surprise_count.load(), 32u);
    while (n < count && !(progress_.surprises[n].call == name && progress_.surprises[n].error == error)) ++n;
    if (n == 32) return false;
    if (n == count) {
        progress_.surprises[n] = {name, error, progress_.case_number.load(), 0};
        progress_.surprise_count.store(n + 1);
    }
    ++progress_.surprises[n].times;
    return false;
}

bool Journal::once_in(unsigned times) const {
    return Random(progress_.case_number.load(std::memory_order_relaxed)).below(times) == 0;
}

void guard_mappings(const std::string& domain) {
    constexpr std::uintptr_t kGuard = 1 << 16;
    std::FILE* maps = std::fopen("/proc/self/maps", "re");
    if (maps == nullptr) return;
    char line[4200];
    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> ours;
    while (std::fgets(line, sizeof line, maps) != nullptr) {
        std::uintptr_t begin = 0, end = 0;
        if (std::strstr(line, domain.c_str()) != nullptr && std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &begin, &end) == 2) ours.emplace_back(begin, end);
    }
    std::fclose(maps);
    for (const auto& [begin, end] : ours)
        for (const std::uintptr_t at : {begin - kGuard, end})
            (void)mmap(reinterpret_cast<void*>(at), kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
}

}  // namespace muster::test::hostile
