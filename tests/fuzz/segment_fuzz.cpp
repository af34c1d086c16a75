// Segments' control files: opening, attaching, each call.
#include "fuzz_image.hpp"
#include "muster/segment.hpp"
#include "objects/segment_layout.hpp"

using namespace muster;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::string path = [] {
        auto segment = Segment::create(fuzz::open_domain(), Key(7), 9000).value();
        static Attachment attached = segment.attach().value();
        return fuzz::domain_path() + "/sysv/shm-" + std::to_string(segment.identifier() % 32768);
    }();
    static const fuzz::Image image(path, {offsetof(objects::SegmentControl, lock)});
    fuzz::Bytes input(data, size);
    const auto what = input.take<std::uint8_t>();
    image.lay_over(input);
    const Domain domain = fuzz::open_domain();
    if (auto segment = Segment::open(domain, Key(7))) {
        if (auto attached = segment->attach(); attached && attached->size() >= 9000) attached->data()[8999] = std::byte{1};
        (void)segment->status();
        (void)segment->users();
    }
    if (what % 16 == 1) (void)domain.fsck(what % 32 == 1, path);
    if (what % 16 == 2) (void)domain.list();
    return 0;
}
