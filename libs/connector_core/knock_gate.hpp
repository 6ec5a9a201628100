// Decides on an Initial before any TLS: is its token a knock that the controller made for this instance?
// (PROTOCOL.md §4.2)
#pragma once

#include "base/bytes.hpp"
#include "connector_core/network_clock.hpp"
#include "model/ids.hpp"
#include "session/endpoint.hpp"

namespace postern::connector {

class KnockGate final : public session::KnockVerifier {
 public:
  explicit KnockGate(const NetworkClock& clock) : clock_(clock) {}

  void set_instance(model::InstanceId instance) { instance_ = instance; }
  /// Until there is a key every knock is refused.
  void set_key(ByteView key) { key_ = to_bytes(key); }
  [[nodiscard]] bool is_ready() const { return !key_.empty() && instance_.value != 0; }

  [[nodiscard]] std::expected<session::Knock, session::DropReason> verify(Instant now, ByteView token) const override;

 private:
  const NetworkClock& clock_;
  model::InstanceId instance_;
  Bytes key_;
};

}  // namespace postern::connector
