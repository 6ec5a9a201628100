// Answers, and the time they take.
#pragma once

#include <string>

namespace flow_load {

/// Sends back whatever comes to this port, by TCP and by UDP, to anybody and for ever.
[[noreturn]] void echo(int port);

/// One message of 64 bytes after the other, each when the one before has come back; prints half round trips as JSON.
/// Goes on beyond its time until one has come back, for at most 20 s.
void ping(const std::string& protocol, const char* ip, int port, double seconds);

}  // namespace flow_load
