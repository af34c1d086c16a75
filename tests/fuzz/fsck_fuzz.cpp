// fsck of a whole domain in which one object of any kind is damaged, or a name: check, repair, check. What says that all is repaired is
// believed: nothing more may be found. What finds nothing has nothing to repair.
#include <cstdio>
#include <map>
#include <set>
#include "fuzz_image.hpp"
#include "muster/message_queue.hpp"
#include "muster/segment.hpp"
#include "muster/semaphore_set.hpp"
#include "muster/typed_queue.hpp"
#include "objects/queue_layout.hpp"
#include "objects/segment_layout.hpp"
#include "objects/semaphore_set_layout.hpp"

using namespace muster;

namespace {

class Scene {
public:
    Scene() {
        const Domain domain = fuzz::open_domain();
        if (mkdir((fuzz::domain_path() + ".keep").c_str(), 0700) != 0) std::abort();
        auto queue = MessageQueue::create(domain, "/victim", {8, 300, 0600}).value();
        auto typed = TypedQueue::create(domain, Key(7)).value();
        for (unsigned n = 0; n < 4; ++n) queue.try_send("some message", n * 70).value(), typed.try_send("some message", n + 1).value();
        queue.try_receive().value(), typed.try_receive().value();
        SemaphoreSet::create(domain, Key(7), {0, 3, 100, 1}).value().try_operate({{2, -3, true}, {1, -1}}).value();
        static Attachment attached = Segment::create(domain, Key(7), 9000).value().attach().value();
        domain.set_limit("msg_max", 100).value();
        domain.set_limit("semopm", 100).value();
        (void)queue.fd();
        (void)domain.fsck(true);
        for (const auto& each : std::filesystem::recursive_directory_iterator(fuzz::domain_path())) {
            const std::string path = each.path();
            names_.insert(path);
            if (!each.is_regular_file()) continue;
            images_.emplace(path, std::make_unique<fuzz::Image>(path, locks_of(path)));
            files_.push_back(path);
            if (link(path.c_str(), kept(path).c_str()) != 0) std::abort();
        }
        std::sort(files_.begin(), files_.end());
    }

    // As it was: the same files under the same names, and no others.
    void restore() const {
        std::vector<std::string> strangers;
        for (const auto& each : std::filesystem::recursive_directory_iterator(fuzz::domain_path()))
            if (names_.count(each.path()) == 0) strangers.push_back(each.path());
        for (const std::string& path : strangers) std::filesystem::remove_all(path);
        for (const std::string& path : files_) {
            struct stat named {}, own {};
            if (lstat(path.c_str(), &named) == 0 && stat(kept(path).c_str(), &own) == 0 && named.st_ino == own.st_ino) continue;
            std::filesystem::remove_all(path);
            if (link(kept(path).c_str(), path.c_str()) != 0) std::abort();
        }
        for (const auto& [path, image] : images_)
            if (path.find("/key/") == path.npos) image->restore();
    }
    const std::string& file(unsigned number) const { return files_[number % files_.size()]; }
    void lay_over(const std::string& path, fuzz::Bytes& input) const { images_.at(path)->lay_over(input); }

private:
    // Another link, so that what is unlinked is not lost.
    static std::string kept(std::string path) {
        for (char& c : path) c = c == '/' ? '+' : c;
        return fuzz::domain_path() + ".keep/" + path;
    }
    static std::vector<std::uint64_t> locks_of(const std::string& path) {
        if (path.find(".data") != path.npos) return {};
        if (path.find("/mq/") != path.npos || path.find("/msg-") != path.npos) return {offsetof(objects::QueueHeader, send_lock), offsetof(objects::QueueHeader, receive_lock)};
        if (path.find("/sem-") != path.npos) return {offsetof(objects::SemaphoreHeader, lock)};
        if (path.find("/shm-") != path.npos) return {offsetof(objects::SegmentControl, lock)};
        return {};
    }
    std::set<std::string> names_;
    std::vector<std::string> files_;
    std::map<std::string, std::unique_ptr<fuzz::Image>> images_;
};

struct Verdict {
    unsigned found = 0, left = 0;
    std::string first;
};
Verdict judge(const std::vector<Finding>& findings) {
    Verdict verdict;
    for (const Finding& finding : findings) {
        if (finding.harmless) continue;
        ++verdict.found, verdict.left += finding.repaired ? 0 : 1;
        verdict.first += finding.path + ": " + finding.what + (finding.repaired ? " (repaired)\n" : "\n");
    }
    return verdict;
}
[[noreturn]] void wrong(const char* what, const Verdict& before, const Verdict& after) {
    std::fprintf(stderr, "%s\nbefore:\n%safter:\n%s", what, before.first.c_str(), after.first.c_str());
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Scene scene;
    fuzz::Bytes input(data, size);
    const auto what = input.take<std::uint8_t>(), which = input.take<std::uint8_t>(), other = input.take<std::uint8_t>();
    scene.restore();
    const std::string &path = scene.file(which), &second = scene.file(other);
    if (what % 8 < 5) scene.lay_over(path, input);
    else if (what % 8 == 5) unlink(path.c_str());
    else if (what % 8 == 6) unlink(second.c_str()), (void)!link(path.c_str(), second.c_str());
    else unlink(path.c_str()), (void)!symlink(second.c_str(), path.c_str());
    if (what % 8 == 5 && what / 8 % 2 == 1) scene.lay_over(second, input);
    const Domain domain = fuzz::open_domain();
    const Verdict found = judge(domain.fsck(false).value()), repaired = judge(domain.fsck(true).value()), after = judge(domain.fsck(false).value());
    if (found.found == 0 && repaired.found != 0) wrong("repair finds what the check did not", found, repaired);
    if (repaired.left == 0 && after.found != 0) wrong("all was repaired, and more is found", repaired, after);
    return 0;
}
