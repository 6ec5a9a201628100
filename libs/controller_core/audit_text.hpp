// Records as JSON for the audit log: everything that an admin may see, never a secret.
#pragma once

#include <string>

#include "controller_core/records.hpp"

namespace postern::controller {

[[nodiscard]] std::string audit_text(const UserRecord& record);
[[nodiscard]] std::string audit_text(const GroupRecord& record);
[[nodiscard]] std::string audit_text(const MembershipRecord& record);
[[nodiscard]] std::string audit_text(const RemoteNetworkRecord& record);
[[nodiscard]] std::string audit_text(const ConnectorRecord& record);
[[nodiscard]] std::string audit_text(const InstanceRecord& record);
[[nodiscard]] std::string audit_text(const DeviceRecord& record);
[[nodiscard]] std::string audit_text(const model::Resource& record);
[[nodiscard]] std::string audit_text(const AccessRecord& record);
[[nodiscard]] std::string audit_text(const RelayRecord& record);

/// "user:7"
[[nodiscard]] std::string subject(const char* kind, std::uint64_t id);

}  // namespace postern::controller
