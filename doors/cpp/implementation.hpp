// What the C++ door's classes share behind their public faces.
#pragma once
#include <string>
#include <vector>
#include "muster/domain.hpp"
#include "objects/domain.hpp"

namespace muster {

struct Domain::Implementation {
    std::string path;
    objects::Domain domain;
};

namespace cpp {
inline Error make_error(int errno_value, std::string object, const char* hint) {
    return Error(errno_value, std::move(object), hint != nullptr ? hint : "");
}
inline Error make_error(const platform::Fault& fault, std::string object) { return make_error(fault.errno_value, std::move(object), fault.rule); }

// The names in a subdirectory of the domain.
inline std::vector<std::string> entries(const objects::Domain& domain, const char* subdirectory) {
    std::vector<std::string> names;
    objects::for_each_entry(domain.directory(), subdirectory, [&](const char* name) {
        names.emplace_back(name);
        return true;
    });
    return names;
}

}  // namespace cpp

}  // namespace muster
