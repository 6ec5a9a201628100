// An agent's control channel: WebSocket over TLS with the server's pin, reconnecting by itself (PROTOCOL.md §6).
//
// It runs a thread of its own; events arrive on the owner's event loop in order. It answers the Challenge, keeps the
// connection alive and reconnects with jitter; what the messages mean is the owner's business.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.hpp"
#include "identity/keys.hpp"
#include "runtime/http/http_message.hpp"
#include "runtime/http/tls.hpp"
#include "runtime/loop/event_loop.hpp"
#include "schema/control.pb.h"

namespace postern::runtime {

struct ControlConfig {
  ServerAddress server{};
  ServerTrust trust{};
  wire::AgentRole role = wire::AGENT_ROLE_UNSPECIFIED;
  identity::PrivateKey key{};
  std::string expected_network{};  ///< slug; empty: any
  std::string refresh_token{};
  std::string software{};
  std::string hostname{};
  std::map<std::string, std::string> labels{};
};

enum class ControlFailure : std::uint8_t {
  Unreachable,   ///< DNS, connect or TLS transport failed: retrying
  PinMismatch,   ///< the server is not the one that was promised: retrying slowly, tell the person
  WrongNetwork,  ///< the Challenge names another network: final
  Denied,        ///< the server said so; `code` tells whether to go on (410 and 401 are final)
  Closed,        ///< the connection ended: retrying
};
struct ControlUp {};
struct ControlDown {
  ControlFailure failure;
  std::uint32_t code = 0;
  std::string reason{};  ///< one sentence for people
  bool final = false;    ///< no retry follows
};
using ControlEvent = std::variant<ControlUp, ControlDown, wire::ControllerMessage>;

class ControlClient {
 public:
  using Handler = std::function<void(ControlEvent)>;

  /// `handler` is called on `loop`'s thread only, never after stop() has returned there.
  ControlClient(ControlConfig config, EventLoop& loop, Handler handler);
  ~ControlClient();

  void start();
  void stop();
  /// From the loop's thread. Dropped when the channel is down or its queue (256 messages) is full.
  void send(const wire::AgentMessage& message);
  /// The version of the last update held; named in the next Authenticate.
  void set_known_version(std::uint64_t version);
  /// Replaces ServerAddress::fixed_addresses, from the next attempt on.
  void set_addresses(std::vector<std::string> addresses);
  /// Tries again at once when it is waiting (the network has changed).
  void reconnect_now();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// One blocking HTTPS request with the same trust rules; for sign-in. Error text is one sentence for people.
[[nodiscard]] std::expected<HttpResponse, std::string> https_request(const ServerAddress& server,
                                                                     const ServerTrust& trust, std::string_view method,
                                                                     std::string_view target, std::string_view body,
                                                                     std::string_view content_type, Duration timeout);

}  // namespace postern::runtime
