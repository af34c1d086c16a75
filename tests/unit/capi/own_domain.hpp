// A domain of the test program's own, gone when it ends. The library decides on its domain when it is loaded, so the
// program starts itself once more with the environment that it needs.
#pragma once
#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace muster::capi_tests {

inline pid_t main_process = 0;

inline void remove_domain() {
    const char* domain = std::getenv("MUSTER_DOMAIN");
    std::error_code ignored;
    if (domain != nullptr && getpid() == main_process) std::filesystem::remove_all(domain, ignored);
}

__attribute__((constructor)) inline void take_own_domain(int, char** arguments, char**) {
    main_process = getpid();
    const std::string wanted = "/dev/shm/muster-capi-test-" + std::to_string(main_process);
    const char* given = std::getenv("MUSTER_DOMAIN");
    if (given != nullptr && wanted == given) {
        std::atexit(&remove_domain);
        return;
    }
    setenv("MUSTER_DOMAIN", wanted.c_str(), 1);
    execv("/proc/self/exe", arguments);
    _exit(127);
}

}  // namespace muster::capi_tests
