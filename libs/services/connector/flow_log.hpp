// Flow reports in the forms that others read: the controller's flow log, and `ANALYTICS {json}` lines
// (facts of the published product §3.8).
#pragma once

#include <string>

#include "connector_core/flow.hpp"
#include "connector_core/policy_store.hpp"
#include "connector_core/relay_bindings.hpp"
#include "connector_core/sessions.hpp"
#include "schema/control.pb.h"

namespace postern::connector {

/// Nothing to report for Opened: the controller gets one record per flow, at its end.
[[nodiscard]] std::optional<wire::FlowRecord> to_flow_record(const FlowReport& report);

struct AnalyticsContext {
  std::string process;  ///< hex, the same for every line of this process
  Identity identity;
  std::vector<RelayBindings::Bound> relays;
};

/// Opened, closed, refused by us (denied_access), refused by the target or its network (failed_to_connect).
[[nodiscard]] std::string to_analytics_line(const FlowReport& report, const policy::ResourceTable& table,
                                            const AnalyticsContext& context);

}  // namespace postern::connector
