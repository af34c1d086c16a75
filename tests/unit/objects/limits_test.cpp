// The files of limits: what a text means, number by number (EINVAL, ERANGE); a text that makes no sense leaves what was, an
// unknown rest of "sem" too; a program's descriptor writes the limit, whatever was there, and finds nothing of it; set at the
// same time by many, a reader sees a value that was set and nothing else; another user sets none in a shared domain (EACCES);
// semaphore calls are told that there are limits.
#include "objects/limits.hpp"
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>
#include "objects/sysv_registry.hpp"

namespace muster::objects {
namespace {

class LimitsTest : public testing::Test {
protected:
    LimitsTest() { std::filesystem::create_directory(root_); }
    ~LimitsTest() override { std::filesystem::remove_all(root_); }
    std::string in(const char* name) const { return root_ + "/limits/" + name; }
    void hand_write(const char* name, const std::string& text) const { std::ofstream(in(name)) << text; }
    static std::uint64_t number(const Domain& domain, const char* name, unsigned which = 0) {
        return read_limit(domain, *find_limit_file(name)).number[which];
    }
    std::string root_ = "/dev/shm/muster-limits-test-" + std::to_string(getpid());
};

TEST_F(LimitsTest, TextsMeanWhatTheyMeanToTheKernel) {
    const auto one = [](const char* file, const std::string& text, std::uint64_t expected, int wrong) {
        LimitValues values{{7, 7, 7, 7}};
        EXPECT_EQ(parse_limit(*find_limit_file(file), text.data(), text.size(), values), wrong) << text;
        EXPECT_EQ(values.number[0], expected) << text;
    };
    for (const char* text : {"5", "5\n", " 5 ", "\t5\t6", "0x5", "05", "5\n\n\n9"}) one("msgmni", text, 5, 0);
    for (const char* text : {"", " ", "\n", "x", "5x", "-5", "+5", "5,6", "08", "0x", "32769", "18446744073709551617"})
        one("msgmni", text, 7, EINVAL);
    one("msgmni", std::string("5\0", 2), 7, EINVAL);
    one("shmmax", "18446744073709551615", UINT64_MAX, 0);
    LimitValues values{{1, 2, 3, 4}};
    const LimitFile& sem = *find_limit_file("sem");
    EXPECT_EQ(parse_limit(sem, "10 20", 5, values), 0);
    EXPECT_EQ(limit_text(sem, values).text, std::string("10\t20\t3\t4\n"));
    EXPECT_EQ(parse_limit(sem, "11 21 501", 9, values), ERANGE);
    EXPECT_EQ(parse_limit(sem, "11 21 x", 7, values), EINVAL);
    EXPECT_EQ(limit_text(sem, values).text, std::string("10\t20\t3\t4\n"));
    EXPECT_EQ(find_limit_file("semopm"), nullptr);
    for (const LimitFile& file : limit_files) {  // what is shown can be written
        LimitValues shown{};
        const LimitText text = limit_text(file, built_in_limit(file));
        EXPECT_EQ(parse_limit(file, text.text, text.bytes, shown), 0);
        EXPECT_EQ(limit_text(file, shown).text, std::string(text.text));
    }
}

TEST_F(LimitsTest, WhatADescriptorWrites) {
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    const LimitFile& file = *find_limit_file("sem");
    const auto write_text = [&](const std::string& text) {
        auto opened = open_limit(*domain, file, O_WRONLY | O_TRUNC | O_APPEND);
        ASSERT_TRUE(opened);
        EXPECT_EQ(platform::file_control(opened->fd(), F_GETFL) & (O_APPEND | O_ACCMODE), O_WRONLY);
        EXPECT_EQ(platform::write_file(opened->fd(), text.data(), text.size()), static_cast<long>(text.size()));
    };
    const auto shown = [&] { return std::string(limit_text(file, read_limit(*domain, file)).text); };
    write_text("250 32000 100 128\n");
    EXPECT_EQ(shown(), "250\t32000\t100\t128\n");
    write_text("7");
    EXPECT_EQ(shown(), "7\t32000\t100\t128\n");
    for (const char* text : {"", "nonsense", "1 2 3 99999", "-1", "8 x"}) {
        write_text(text);
        EXPECT_EQ(shown(), "7\t32000\t100\t128\n") << text;
    }
    write_text(std::string(1000, 'x'));
    EXPECT_EQ(shown(), "32000\t1024000000\t500\t32000\n");  // it lay over everything
    EXPECT_TRUE(Domain::set_limit(*domain, "semopm", 9));
    EXPECT_TRUE(Domain::set_limit(*domain, "semmni", 8));
    EXPECT_EQ(shown(), "32000\t1024000000\t9\t8\n");
    EXPECT_EQ(SysvLimits::of(*domain).semopm, 9u);
    EXPECT_EQ(SysvLimits::of(*domain).semmni, 8u);
    EXPECT_EQ(Domain::set_limit(*domain, "sem", 8).fault().errno_value, EINVAL);
    // Files that people wrote themselves, and things that are no files.
    hand_write("msgmni", "12");
    EXPECT_EQ(number(*domain, "msgmni"), 12u);
    EXPECT_EQ(SysvLimits::of(*domain).msgmni, 12u);
    hand_write("msgmni", "-12");
    EXPECT_EQ(number(*domain, "msgmni"), 32000u);
    std::filesystem::create_directory(in("shmmax"));
    EXPECT_EQ(number(*domain, "shmmax"), SysvLimits{}.shmmax);
    EXPECT_EQ(open_limit(*domain, *find_limit_file("shmmax"), O_WRONLY).fault().errno_value, EISDIR);
    std::filesystem::create_symlink("/etc/passwd", in("shmall"));
    EXPECT_EQ(number(*domain, "shmall"), SysvLimits{}.shmall);
    EXPECT_FALSE(open_limit(*domain, *find_limit_file("shmall"), O_WRONLY));
}

TEST_F(LimitsTest, NothingButWhatWasSetIsEverSeen) {
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    ASSERT_TRUE(Domain::set_limit(*domain, "shmmax", 11111));
    const LimitFile& file = *find_limit_file("shmmax");
    std::atomic<bool> stop{false};
    std::vector<std::thread> setters;
    for (unsigned setter = 0; setter < 3; ++setter)
        setters.emplace_back([&, setter] {
            for (unsigned turn = 0; !stop; ++turn) {
                if (setter == 0) {
                    EXPECT_TRUE(Domain::set_limit(*domain, "shmmax", turn % 2 != 0 ? 22222 : 33333));
                } else {
                    auto opened = open_limit(*domain, file, O_WRONLY);  // and nothing written, as by `: >`
                    EXPECT_TRUE(opened || opened.fault().errno_value == EAGAIN);
                }
            }
        });
    for (int look = 0; look < 20'000; ++look) {
        const std::uint64_t value = number(*domain, "shmmax");
        if (value != 11111 && value != 22222 && value != 33333) {
            ADD_FAILURE() << value;
            break;
        }
    }
    stop = true;
    for (auto& setter : setters) setter.join();
}

TEST_F(LimitsTest, OnlyTheOwnerSetsThoseOfASharedDomain) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    std::filesystem::permissions(root_, static_cast<std::filesystem::perms>(01777));
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    const auto as_other = [&] {
        const pid_t child = fork();
        if (child == 0) {
            if (seteuid(60001) != 0) _exit(255);
            auto set = Domain::set_limit(*domain, "msgmni", 5);
            auto opened = open_limit(*domain, *find_limit_file("msgmax"), O_WRONLY);
            _exit(!set && set.fault().errno_value == EACCES && !opened && opened.fault().errno_value == EACCES ? 0 : 1);
        }
        int status = 0;
        waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    };
    EXPECT_EQ(as_other(), 0);
    ASSERT_TRUE(Domain::set_limit(*domain, "msgmni", 6));
    ASSERT_TRUE(open_limit(*domain, *find_limit_file("msgmax"), O_WRONLY));
    EXPECT_EQ(as_other(), 0);
    EXPECT_EQ(number(*domain, "msgmni"), 6u);
}

TEST_F(LimitsTest, SemaphoresAreTold) {
    auto domain = Domain::open(root_.c_str(), false);
    ASSERT_TRUE(domain);
    ASSERT_TRUE(domain->ensure_directory("sysv"));
    SysvRegistry registry(*domain);
    EXPECT_FALSE(registry.semaphore_limits_set());
    ASSERT_TRUE(Domain::set_limit(*domain, "msgmni", 6));
    EXPECT_FALSE(registry.semaphore_limits_set());
    ASSERT_TRUE(open_limit(*domain, *find_limit_file("sem"), O_WRONLY));
    EXPECT_TRUE(registry.semaphore_limits_set());
    EXPECT_TRUE(SysvRegistry(*domain).semaphore_limits_set());
    std::filesystem::remove(root_ + "/sysv/.sem");  // made anew by whoever needs it
    EXPECT_TRUE(SysvRegistry(*domain).semaphore_limits_set());
}

}  // namespace
}  // namespace muster::objects
