// What `postern` and the tray say to `posternd` over the unix socket: one JSON object per line, both ways.
//
//     → {"v": 1, "type": "status"}
//     ← {"v": 1, "ok": true, "final": true, "status": {…}}
//     ← {"v": 1, "ok": false, "final": true, "exit": 14, "error": "…"}
//
// A request has one answer with `final`; login and watching have others before it. Several requests may follow each
// other on one connection. After `open` and its good answer the connection is the stream itself; the answer before that
// brings a socket (SCM_RIGHTS) on which one line comes if the stream is broken off. Unknown fields are ignored, an
// unknown type or version is refused.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "client_core/explanation.hpp"
#include "client_core/flow_info.hpp"
#include "client_core/status.hpp"
#include "services/client/problem.hpp"
#include "services/client/sign_in.hpp"

namespace postern::client {

inline constexpr int kIpcVersion = 1;
/// A longer line ends the connection.
inline constexpr std::size_t kIpcLineMax = 64 * 1024;

enum class RequestType : std::uint8_t {
  Status,
  Resources,
  Explain,
  Open,
  Flows,
  Login,
  Logout,
  Connect,
  Disconnect,
  Version,
};

struct RequestKind {
  RequestType type;
  std::string_view word;
  bool changes = false;  ///< only for root and the group postern: it changes something, or shows what people do
};
/// The one table of requests.
inline constexpr std::array kRequestKinds = {
    RequestKind{RequestType::Status, "status"},
    RequestKind{RequestType::Resources, "resources"},
    RequestKind{RequestType::Explain, "explain"},
    RequestKind{RequestType::Open, "open"},
    RequestKind{RequestType::Flows, "flows", true},
    RequestKind{RequestType::Login, "login", true},
    RequestKind{RequestType::Logout, "logout", true},
    RequestKind{RequestType::Connect, "connect", true},
    RequestKind{RequestType::Disconnect, "disconnect", true},
    RequestKind{RequestType::Version, "version"},
};

struct Request {
  RequestType type = RequestType::Status;
  bool watch = false;         ///< status: an answer at each change, until the connection ends
  std::string url;            ///< login
  std::string fingerprint;    ///< login
  std::string destination{};  ///< explain, open: what parse_destination() takes
};
[[nodiscard]] bool changes_something(RequestType type);

/// The error is a sentence for the answer.
[[nodiscard]] std::expected<Request, std::string> parse_request(std::string_view line);
[[nodiscard]] std::string build_request(const Request& request);

enum class Last : std::uint8_t { No, Yes };
/// Answers, each a line with its line break. `body` is a JSON object as text: {"status": …}.
[[nodiscard]] std::string build_status(const ClientStatus& status, Last last);
[[nodiscard]] std::string build_explanation(const Explanation& explanation);
[[nodiscard]] std::string build_invitation(const Invitation& invitation);
[[nodiscard]] std::string build_signed_in(const SignIn& sign_in);
[[nodiscard]] std::string build_flows(const FlowList& list);
[[nodiscard]] std::string build_opening();
[[nodiscard]] std::string build_done(std::string_view message);
[[nodiscard]] std::string build_version(std::string_view version);
[[nodiscard]] std::string build_error(const Problem& problem);

}  // namespace postern::client
