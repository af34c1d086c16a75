// The limits of a domain: files in domain/limits with the names that /proc/sys has, each of one number, "sem" of four.
//
// Programs write to these files themselves, by descriptors that the C door gives out for files of /proc/sys. Nothing of ours
// stands between such a write and the file, so the file is made to bear any text (docs/decisions/0009):
//
//   byte 0     what was written: numbers as /proc/sys takes them; newlines where nothing was
//   byte 128   the numbers that held when the file was last opened for writing
//
// A text that makes no sense at 0 counts for nothing, and the one at 128 holds on; without that, the built-in numbers. A file
// of one line is a special case. Whoever gets a descriptor for writing finds newlines at 0: neither what stood there
// nor an end of the file mixes with what they write.
#pragma once
#include <cstdint>
#include "objects/domain.hpp"
#include "platform/file.hpp"
#include "platform/outcome.hpp"

namespace muster::objects {

inline constexpr std::size_t kLimitTextBytes = 128;

struct LimitNumber {
    const char* name;
    std::uint64_t built_in, least, most;
};

struct LimitFile {
    const char* name;
    bool posix;  // /proc/sys/fs/mqueue has it, else /proc/sys/kernel
    unsigned count;
    LimitNumber numbers[4];
};
inline constexpr unsigned kLimitFiles = 12;
extern const LimitFile limit_files[kLimitFiles];

struct LimitValues {
    std::uint64_t number[4];
};

// As the kernel shows it: "32000\n", "32000\t1024000000\t500\t32000\n".
struct LimitText {
    char text[kLimitTextBytes];
    std::size_t bytes;
};

const LimitFile* find_limit_file(const char* name);
LimitValues built_in_limit(const LimitFile& file);
LimitValues read_limit(const Domain& domain, const LimitFile& file);
LimitText limit_text(const LimitFile& file, const LimitValues& values);

// SOURCE proc_dointvec() of the kernel: what a write of that text means. Numbers that it does not reach stay as they are in
// `values`. 0, or EINVAL, or ERANGE where the kernel says that of a number that is too large; nothing changes then.
int parse_limit(const LimitFile& file, const char* text, std::size_t bytes, LimitValues& values);

// A descriptor of the file itself, which is made if there is none; for writing, and with O_RDWR for reading. Of `flags` the
// access mode, O_CLOEXEC and O_NONBLOCK count. Errors: EACCES, EMFILE, ENOSPC.
platform::Outcome<platform::File> open_limit(const Domain& domain, const LimitFile& file, int flags);

// The limit whose file that is, null if none's.
const LimitFile* limit_file_of(const Domain& domain, const struct stat& status);

}  // namespace muster::objects
