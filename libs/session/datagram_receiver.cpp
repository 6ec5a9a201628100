#include "session/datagram_receiver.hpp"

#include <algorithm>
#include <cstring>

namespace postern::session {

// --- pieces --------------------------------------------------------------------------------------------------------

std::size_t DatagramReassembly::find(std::int64_t stream, std::uint16_t id) const {
  const auto found =
      std::ranges::find_if(packets_, [&](const Packet& packet) { return packet.stream == stream && packet.id == id; });
  return static_cast<std::size_t>(found - packets_.begin());
}

void DatagramReassembly::erase(std::size_t index) {
  bytes_ -= packets_[index].size;
  packets_.erase(packets_.begin() + static_cast<std::ptrdiff_t>(index));
}

/// Two ends, a piece behind the end, or more bytes than a payload can have.
bool DatagramReassembly::contradicts(const Packet& packet, const wire::DatagramPiece& piece, std::size_t size) {
  if (packet.size + size > kPayloadMax) return true;
  if (packet.last) return piece.is_last ? piece.index != *packet.last : piece.index > *packet.last;
  return piece.is_last && packet.pieces.size() > piece.index + 1U;
}

std::optional<ByteView> DatagramReassembly::add(Instant now, const wire::FlowDatagram& datagram,
                                                DatagramCounters& counters) {
  expire(now, counters);
  const wire::DatagramPiece& piece = *datagram.piece;
  std::size_t index = find(datagram.stream, piece.packet);
  if (index == packets_.size()) {
    packets_.push_back({datagram.stream, piece.packet, now, 0, 0, {}, {}});
    if (packets_.size() > kPacketsMax) {
      ++counters.dropped_partial;
      erase(0);
      --index;
    }
  }
  if (contradicts(packets_[index], piece, datagram.payload.size())) {
    ++counters.dropped_malformed;
    erase(index);
    return std::nullopt;
  }
  Packet& packet = packets_[index];
  if (piece.index >= packet.pieces.size()) packet.pieces.resize(piece.index + 1U);
  if (piece.is_last) packet.last = piece.index;
  if (!packet.pieces[piece.index].empty()) return std::nullopt;  // a repetition
  packet.pieces[piece.index] = to_bytes(datagram.payload);
  packet.size += datagram.payload.size();
  bytes_ += datagram.payload.size();
  ++packet.count;
  if (packet.last && packet.count == *packet.last + 1U) {
    complete_.clear();
    for (const Bytes& part : packet.pieces) complete_.insert(complete_.end(), part.begin(), part.end());
    erase(index);
    return complete_;
  }
  while (bytes_ > kBytesMax) {
    ++counters.dropped_partial;
    erase(0);
  }
  return std::nullopt;
}

void DatagramReassembly::expire(Instant now, DatagramCounters& counters) {
  while (!packets_.empty() && now - packets_.front().since >= kPatience) {
    ++counters.dropped_partial;
    erase(0);
  }
}

std::optional<Instant> DatagramReassembly::next_timeout() const {
  if (packets_.empty()) return std::nullopt;
  return packets_.front().since + kPatience;
}

// --- payloads ------------------------------------------------------------------------------------------------------

void DatagramReceiver::handle_frame(Instant now, ByteView frame) {
  const auto datagram = wire::FlowDatagram::parse(frame);
  if (!datagram) {
    ++counters_.dropped_malformed;
    return;
  }
  const StreamId flow(datagram->stream);
  if (!datagram->piece) return deliver(flow, datagram->payload);
  if (const auto whole = reassembly_.add(now, *datagram, counters_)) deliver(flow, *whole);
}

void DatagramReceiver::deliver(StreamId flow, ByteView payload) {
  if (bytes_ + payload.size() > kBytesMax || trains_.size() >= kTrainsMax) {
    ++counters_.dropped_unread;
    return;
  }
  auto stored = store(payload);
  if (!stored) {
    ++counters_.dropped_memory;
    return;
  }
  ++counters_.received;
  bytes_ += payload.size();
  if (!join(flow, *stored)) {
    trains_.push_back({flow, std::move(*stored), std::max<std::size_t>(payload.size(), 1)});
  }
  if (std::exchange(is_announced_, true)) return;
  events_.push(DatagramsReadable{session_});
}

std::optional<Slice> DatagramReceiver::store(ByteView payload) {
  if (payload.empty()) return Slice();
  if (!block_ || used_ + payload.size() > block_.bytes().size()) {
    block_ = pool_.acquire(BlockClass::Large);
    used_ = 0;
    if (!block_) return std::nullopt;
  }
  std::memcpy(block_.bytes().data() + used_, payload.data(), payload.size());
  Slice slice = block_.slice(used_, payload.size());
  used_ += payload.size();
  return slice;
}

bool DatagramReceiver::join(StreamId flow, const Slice& payload) {
  if (trains_.empty() || payload.empty()) return false;
  DatagramTrain& train = trains_.back();
  const std::size_t size = train.bytes.size();
  const bool is_complete = size == 0 || size % train.stride != 0 || size / train.stride >= kTrainPacketsMax;
  if (is_complete || train.flow != flow || payload.size() > train.stride) return false;
  return size + payload.size() <= kTrainBytesMax && train.bytes.try_join(payload);
}

std::optional<DatagramTrain> DatagramReceiver::read() {
  if (trains_.empty()) return std::nullopt;
  DatagramTrain train = trains_.pop_front();
  bytes_ -= train.bytes.size();
  if (trains_.empty()) block_ = Buffer();  // an idle session holds no block
  return train;
}

}  // namespace postern::session
