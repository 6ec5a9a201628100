// Datagrams of a session: Connection's and Endpoint's part in sending and receiving them (PROTOCOL.md §4.4).
#include "session/connection.hpp"

namespace postern::session {

namespace {

/// Of a packet with a short header and one DATAGRAM frame: first byte, connection id, packet number, tag, frame type
/// and length.
constexpr std::size_t kOverhead = 1 + ConnectionId::kSize + 4 + 16 + 1 + 2;
/// Probes for the size of the path have been answered or given up by then.
constexpr Duration kSettleTime = std::chrono::seconds(5);

}  // namespace

std::size_t Connection::datagram_frame_max() const {
  return ngtcp2_conn_get_path_max_tx_udp_payload_size(quic_) - kOverhead;
}

bool Connection::send_datagrams(Instant now, StreamId flow, Slice bytes, std::size_t stride) {
  const ngtcp2_transport_params* peer = ngtcp2_conn_get_remote_transport_params(quic_);
  if (peer == nullptr || peer->max_datagram_frame_size < datagram_frame_max()) return false;
  datagrams_.push(now, flow, std::move(bytes), stride, context_.datagrams);
  return true;
}

DatagramLimit Connection::datagram_limit(Instant now, StreamId flow) const {
  const std::size_t header = wire::FlowDatagramHeader::make(flow.value, {}).size;
  const std::size_t packet = ngtcp2_conn_get_path_max_tx_udp_payload_size(quic_);
  const bool is_settled = packet >= context_.config.udp_payload_max || now - path_since_ >= kSettleTime;
  return {datagram_frame_max() - header, is_settled};
}

bool Connection::datagrams_come_before(const Stream* stream) {
  if (state_ != ConnectionState::Established || datagrams_.empty()) return false;
  if (stream != nullptr && (stream->id == kControlStream || !datagrams_.has_turn())) return false;
  return datagrams_.prepare(
      write_time_, datagram_frame_max(), [this](StreamId flow) { return !streams_.has_unsent(flow); }, datagram_frame_,
      context_.datagrams);
}

/// A packet that ends with the datagram that was prepared, or has no room for it; WRITE_MORE when more fits.
ngtcp2_ssize Connection::write_datagram(MutableBytes room, std::uint64_t own_time) {
  int accepted = 0;
  const ngtcp2_ssize size = ngtcp2_conn_writev_datagram(quic_, &written_path_.path, nullptr, room.data(), room.size(),
                                                        &accepted, NGTCP2_WRITE_DATAGRAM_FLAG_MORE, 0,
                                                        datagram_frame_.parts.data(), datagram_frame_.count, own_time);
  if (accepted != 0) datagrams_.taken(context_.datagrams);
  return size;
}

}  // namespace postern::session
