// SessionPort over the real QUIC endpoint. The endpoint comes and goes: it needs the route id of the first Welcome.
#pragma once

#include "connector_core/session_port.hpp"

namespace postern::connector {

class EndpointPort final : public SessionPort {
 public:
  void attach(session::Endpoint* endpoint) { endpoint_ = endpoint; }

  void close(Instant now, session::SessionId session, std::uint64_t code, std::string_view reason) override {
    if (endpoint_ != nullptr) endpoint_->close(now, session, code, reason);
  }
  void ping(Instant now, session::SessionId session) override {
    if (endpoint_ != nullptr) endpoint_->ping(now, session);
  }
  [[nodiscard]] std::optional<Instant> last_heard(session::SessionId session) const override {
    const auto stats = endpoint_ != nullptr ? endpoint_->stats(session) : std::nullopt;
    if (!stats) return std::nullopt;
    return stats->last_heard;
  }
  [[nodiscard]] bool has_budget(session::SessionId session) const override {
    return endpoint_ != nullptr && endpoint_->has_budget(session);
  }
  [[nodiscard]] std::size_t writable(session::SessionId session, session::StreamId stream) const override {
    return endpoint_ == nullptr ? 0 : endpoint_->writable(session, stream);
  }
  bool write(session::SessionId session, session::StreamId stream, Slice bytes) override {
    return endpoint_ != nullptr && endpoint_->write(session, stream, std::move(bytes)).has_value();
  }
  bool finish(session::SessionId session, session::StreamId stream) override {
    return endpoint_ != nullptr && endpoint_->finish(session, stream).has_value();
  }
  void reset_when_delivered(Instant now, session::SessionId session, session::StreamId stream,
                            std::uint64_t code) override {
    if (endpoint_ != nullptr) endpoint_->reset_when_delivered(now, session, stream, code);
  }
  void reset(session::SessionId session, session::StreamId stream, std::uint64_t code) override {
    if (endpoint_ != nullptr) endpoint_->reset(session, stream, code);
  }
  [[nodiscard]] Slice read(session::SessionId session, session::StreamId stream) override {
    return endpoint_ == nullptr ? Slice() : endpoint_->read(session, stream);
  }
  [[nodiscard]] bool at_end(session::SessionId session, session::StreamId stream) const override {
    return endpoint_ != nullptr && endpoint_->at_end(session, stream);
  }
  bool send_datagrams(Instant now, session::SessionId session, session::StreamId flow, Slice bytes,
                      std::size_t stride) override {
    return endpoint_ != nullptr && endpoint_->send_datagrams(now, session, flow, std::move(bytes), stride).has_value();
  }
  [[nodiscard]] std::optional<session::DatagramTrain> read_datagrams(session::SessionId session) override {
    return endpoint_ == nullptr ? std::nullopt : endpoint_->read_datagrams(session);
  }
  void consume(session::SessionId session, session::StreamId stream, std::size_t bytes) override {
    if (endpoint_ != nullptr) endpoint_->consume(session, stream, bytes);
  }
  [[nodiscard]] std::optional<Digest> export_key(session::SessionId session, std::string_view label,
                                                 std::string_view context) const override {
    return endpoint_ == nullptr ? std::nullopt : endpoint_->export_key(session, label, context);
  }
  bool allow_remote(session::SessionId session, const SocketAddress& remote) override {
    return endpoint_ != nullptr && endpoint_->allow_remote(session, remote);
  }
  void disallow_remote(session::SessionId session, const SocketAddress& remote) override {
    if (endpoint_ != nullptr) endpoint_->disallow_remote(session, remote);
  }
  [[nodiscard]] std::optional<session::Path> path_of(session::SessionId session) const override {
    const auto stats = endpoint_ != nullptr ? endpoint_->stats(session) : std::nullopt;
    if (!stats) return std::nullopt;
    return stats->path;
  }
  [[nodiscard]] std::optional<Duration> round_trip(session::SessionId session) const override {
    const auto stats = endpoint_ != nullptr ? endpoint_->stats(session) : std::nullopt;
    if (!stats) return std::nullopt;
    return stats->smoothed_rtt;
  }
  [[nodiscard]] session::StreamPressure pressure(session::SessionId session, session::StreamId stream) const override {
    return endpoint_ == nullptr ? session::StreamPressure() : endpoint_->pressure(session, stream);
  }

 private:
  session::Endpoint* endpoint_ = nullptr;
};

}  // namespace postern::connector
