// What listing a domain, changing it by name and looking after it share.
#pragma once
#include <optional>
#include <string>
#include <vector>
#include "system_v.hpp"

namespace muster::cpp {

// The fault's sentence, else the errno value's.
std::string reason(const platform::Fault& fault);

ObjectKind public_kind(objects::SysvKind kind);
std::optional<objects::SysvKind> inner_kind(ObjectKind kind);

// The names "sysv/KIND-INDEX" of a domain, by kind and index.
struct SysvPlace {
    objects::SysvKind kind;
    std::uint32_t index;
    std::string path;
};
std::vector<SysvPlace> sysv_places(const objects::Domain& core);

// What the file `name` of the domain tells by itself. False: there is none.
bool fill_from_file(ObjectInfo& info, const Domain& domain, const std::string& name);

}  // namespace muster::cpp
