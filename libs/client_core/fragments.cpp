#include "client_core/fragments.hpp"

#include <algorithm>

#include "wire/checksum.hpp"

namespace postern::client {

std::size_t Fragments::find(const wire::IpView& ip) const {
  // The protocol of a later IPv6 piece is that of the fragment header, as it is of the first.
  const auto found = std::ranges::find_if(packets_, [&](const Packet& packet) {
    return packet.identification == ip.fragment->identification && packet.source == ip.source &&
           packet.destination == ip.destination && packet.protocol == ip.protocol;
  });
  return static_cast<std::size_t>(found - packets_.begin());
}

void Fragments::erase(std::size_t index) {
  bytes_ -= packets_[index].have;
  packets_.erase(packets_.begin() + static_cast<std::ptrdiff_t>(index));
}

void Fragments::drop(std::size_t index) {
  ++dropped_;
  erase(index);
}

bool Fragments::insert(Packet& packet, const wire::IpView& ip) {
  const std::uint32_t offset = ip.fragment->offset;
  const std::size_t end = offset + ip.payload.size();
  const bool is_whole = ip.payload.empty() || (ip.fragment->more && ip.payload.size() % 8 != 0);
  if (is_whole || end + wire::ip_header_size(ip.source.family()) > kPacketMax) return false;
  if (packet.size && (end > *packet.size || !ip.fragment->more)) return false;
  const auto place = std::ranges::upper_bound(packet.pieces, offset, {}, &Piece::offset);
  if (place != packet.pieces.begin()) {
    const Piece& before = *std::prev(place);
    if (before.offset + before.bytes.size() > offset) return false;
  }
  if (place != packet.pieces.end() && (place->offset < end || !ip.fragment->more)) return false;
  if (!ip.fragment->more) packet.size = end;
  packet.pieces.insert(place, {offset, to_bytes(ip.payload)});
  packet.have += ip.payload.size();
  return true;
}

std::optional<ByteView> Fragments::add(Instant now, const wire::IpView& ip) {
  while (!packets_.empty() && now - packets_.front().since >= kPatience) drop(0);
  std::size_t index = find(ip);
  if (index == packets_.size()) {
    packets_.push_back({ip.source, ip.destination, ip.protocol, ip.fragment->identification, now, {}, 0, {}});
    if (packets_.size() > kPacketsMax) {
      drop(0);
      --index;
    }
  }
  if (!insert(packets_[index], ip)) {
    drop(index);
    return std::nullopt;
  }
  bytes_ += ip.payload.size();
  if (packets_[index].size == packets_[index].have) {
    const auto whole = assemble(packets_[index]);
    erase(index);
    return whole;
  }
  while (bytes_ > kBytesMax) drop(0);
  return std::nullopt;
}

std::optional<ByteView> Fragments::assemble(const Packet& packet) {
  const std::size_t header = wire::ip_header_size(packet.source.family());
  whole_.resize(header);
  if (wire::write_ip_header(whole_, packet.source, packet.destination, packet.protocol, packet.have) == 0) {
    return std::nullopt;
  }
  if (packet.source.is_v4()) {
    store_u16(&whole_[6], 0);
    store_u16(&whole_[10], 0);
    store_u16(&whole_[10], wire::ChecksumSum().add(ByteView(whole_).first(header)).checksum());
  }
  for (const Piece& piece : packet.pieces) whole_.insert(whole_.end(), piece.bytes.begin(), piece.bytes.end());
  return whole_;
}

}  // namespace postern::client
