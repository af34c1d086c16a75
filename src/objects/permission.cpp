#include "objects/permission.hpp"
#include "platform/process.hpp"

namespace muster::objects {

bool Permission::allows(std::uint32_t wanted) const {
    const std::uint32_t user = platform::effective_user();
    if (user == 0) return true;
    std::uint32_t granted = mode;
    if (user == owner_uid || user == creator_uid) granted >>= 6;
    else if (platform::in_group(owner_gid) || platform::in_group(creator_gid)) granted >>= 3;
    return (wanted & ~granted & 7) == 0;
}

bool Permission::owned_by_us() const {
    const std::uint32_t user = platform::effective_user();
    return user == 0 || user == owner_uid || user == creator_uid;
}

}  // namespace muster::objects
