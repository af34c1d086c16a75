// What the C++ door's classes share behind their public faces.
#pragma once
#include <string>
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

}  // namespace cpp

}  // namespace muster
