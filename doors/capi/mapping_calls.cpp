#include "mapping_calls.hpp"
#include <dlfcn.h>

namespace muster::capi {

constinit NextMappingCalls next_mapping_calls{};

namespace {

template <class Call>
void find(Call*& call, const char* name) {
    call = reinterpret_cast<Call*>(dlsym(RTLD_NEXT, name));
}

__attribute__((constructor(101))) void find_next_mapping_calls() {
    find(next_mapping_calls.mmap, "mmap64");
    find(next_mapping_calls.munmap, "munmap");
    find(next_mapping_calls.mprotect, "mprotect");
    find(next_mapping_calls.mremap, "mremap");
}

}  // namespace
}  // namespace muster::capi
