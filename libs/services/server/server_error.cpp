#include "services/server/server_error.hpp"

namespace postern::server {

using config::ExitCode;

ServerError to_server_error(const controller::CommandError& error) {
  using Kind = controller::CommandError::Kind;
  switch (error.kind) {
    case Kind::NotFound:
      return {ExitCode::NotFound, error.message};
    case Kind::Invalid:
      return {ExitCode::Usage, error.message};
    case Kind::AlreadyExists:
    case Kind::Conflict:
      break;
  }
  return {ExitCode::Conflict, error.message};
}

ServerError to_server_error(const runtime::StoreError& error) {
  using Kind = runtime::StoreErrorKind;
  switch (error.kind) {
    case Kind::Locked:
      return {ExitCode::AlreadyRunning, error.message};
    case Kind::Unreadable:
    case Kind::ReadOnly:
      return {ExitCode::NotPermitted, error.message};
    case Kind::NotFound:
    case Kind::Corrupt:
    case Kind::NewerVersion:
    case Kind::Migration:
    case Kind::Full:
      return {ExitCode::StateUnusable, error.message};
    case Kind::Exists:
    case Kind::Conflict:
      return {ExitCode::Conflict, error.message};
    case Kind::Io:
      break;
  }
  return {ExitCode::Failure, error.message};
}

}  // namespace postern::server
