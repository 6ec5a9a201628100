// What a program's exit status means, the same for every Postern program (docs/exit-codes.md is made from this table).
#pragma once

#include <array>
#include <string_view>

namespace postern::config {

enum class ExitCode : int {
  Ok = 0,
  Failure = 1,
  Usage = 2,
  TokensRevoked = 3,
  ServerNotTrusted = 4,
  AddressInUse = 5,
  NotPermitted = 6,
  StateUnusable = 7,
  AlreadyRunning = 8,
  WrongNetwork = 9,
  NotRunning = 10,
  NotFound = 11,
  Conflict = 12,
  BadToken = 13,
  SignInNeeded = 14,
  Unreachable = 15,
  NotReached = 16,
};

struct ExitCodeMeaning {
  ExitCode code;
  std::string_view name;
  std::string_view meaning;
};

/// In ascending order; every code is here once.
inline constexpr std::array kExitCodes{
    ExitCodeMeaning{ExitCode::Ok, "ok", "It worked."},
    ExitCodeMeaning{ExitCode::Failure, "failure",
                    "It failed for a reason without a code of its own; also: not healthy."},
    ExitCodeMeaning{ExitCode::Usage, "usage", "An option, argument or configuration value is wrong or missing."},
    ExitCodeMeaning{
        ExitCode::TokensRevoked, "tokens revoked",
        "A connector's or relay's tokens were revoked or replaced. Restarting does not help: make new ones."},
    ExitCodeMeaning{ExitCode::ServerNotTrusted, "server not trusted",
                    "The server is not the one that was promised (pin or certificate do not match)."},
    ExitCodeMeaning{ExitCode::AddressInUse, "address in use", "An address or port to listen on is taken."},
    ExitCodeMeaning{ExitCode::NotPermitted, "not permitted",
                    "A permission is missing: files, a socket, CAP_NET_ADMIN, or the TUN device."},
    ExitCodeMeaning{ExitCode::StateUnusable, "state unusable",
                    "The state is missing, damaged, without space, or was written by a newer version."},
    ExitCodeMeaning{ExitCode::AlreadyRunning, "already running",
                    "Another instance runs with the same state or socket."},
    ExitCodeMeaning{ExitCode::WrongNetwork, "wrong network", "The server belongs to another Network than configured."},
    ExitCodeMeaning{ExitCode::NotRunning, "not running",
                    "The daemon or server that the command talks to does not run."},
    ExitCodeMeaning{ExitCode::NotFound, "not found", "The thing that was named does not exist."},
    ExitCodeMeaning{ExitCode::Conflict, "conflict", "It exists already, or something else depends on it."},
    ExitCodeMeaning{ExitCode::BadToken, "bad token", "A token is malformed or was made by another Network."},
    ExitCodeMeaning{ExitCode::SignInNeeded, "sign-in needed",
                    "Nobody is signed in on this device, or the sign-in ended."},
    ExitCodeMeaning{ExitCode::Unreachable, "unreachable", "The server could not be reached in the time allowed."},
    ExitCodeMeaning{ExitCode::NotReached, "not reached",
                    "`postern explain`: a connection to there would not be carried; the output says why."},
};

[[nodiscard]] constexpr int to_status(ExitCode code) {
  return static_cast<int>(code);
}

}  // namespace postern::config
