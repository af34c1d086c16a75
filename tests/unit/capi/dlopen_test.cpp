// dlopen: RTLD_DEEPBIND is masked, failures and the caller's identity are the C library's.
#include <dlfcn.h>
#include <link.h>
#include <gtest/gtest.h>
#include <cstring>
#include "own_domain.hpp"

namespace {

TEST(Dlopen, WorksAndFails) {
    void* library = dlopen("libm.so.6", RTLD_NOW | RTLD_DEEPBIND);
    ASSERT_NE(nullptr, library) << dlerror();
    EXPECT_NE(nullptr, dlsym(library, "cos"));
    EXPECT_EQ(0, dlclose(library));
    EXPECT_EQ(nullptr, dlopen("libno-such-library.so", RTLD_NOW));
    EXPECT_NE(nullptr, std::strstr(dlerror(), "libno-such-library.so"));
    EXPECT_EQ(nullptr, dlopen("libm.so.6", 0x1000'0000));
    EXPECT_NE(nullptr, dlerror());
}

TEST(Dlopen, NullIsTheProgram) {
    void* program = dlopen(nullptr, RTLD_NOW);
    ASSERT_NE(nullptr, program);
    link_map* map = nullptr;
    ASSERT_EQ(0, dlinfo(program, RTLD_DI_LINKMAP, &map));
    EXPECT_STREQ("", map->l_name);
    dlclose(program);
}

// $ORIGIN is the directory of whoever called: this program's, not the library's that stands in between.
TEST(Dlopen, OriginIsTheCallers) {
    void* library = dlopen("libm.so.6", RTLD_NOW);
    link_map* map = nullptr;
    ASSERT_EQ(0, dlinfo(library, RTLD_DI_LINKMAP, &map));
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
    const std::string name = "dlopen-test-" + std::to_string(getpid()) + ".so";
    const std::filesystem::path copy = program.parent_path() / name;
    ASSERT_TRUE(std::filesystem::copy_file(map->l_name, copy));
    void* beside = dlopen(("$ORIGIN/" + name).c_str(), RTLD_NOW | RTLD_DEEPBIND);
    EXPECT_NE(nullptr, beside) << dlerror();
    std::filesystem::remove(copy);
}

}  // namespace
