// What a service manager wants to hear, after sd_notify(3); without libsystemd, because it is one datagram.
#pragma once

namespace postern::runtime {

/// Tells the service manager named by NOTIFY_SOCKET that we answer now (`Type=notify`). Without one it does nothing.
void notify_ready();

}  // namespace postern::runtime
