#include "session/datagram_sender.hpp"

#include <algorithm>

namespace postern::session {

std::size_t DatagramSender::packets_of(const Entry& entry) {
  const std::size_t left = entry.bytes.size() - entry.offset;
  return std::max<std::size_t>(1, (left + entry.stride - 1) / entry.stride);
}

std::size_t DatagramSender::front_size(const Queue& queue) {
  const Entry& entry = queue.entries.front();
  return std::min(entry.stride, entry.bytes.size() - entry.offset);
}

void DatagramSender::push(Instant now, StreamId flow, Slice bytes, std::size_t stride, DatagramCounters& counters) {
  Entry entry{std::move(bytes), std::max<std::size_t>(stride, 1), 0, now};
  const std::size_t count = packets_of(entry);
  Queue& queue = queues_[flow];
  drop_old(now, queue, counters);
  while (queue.packets > 0 && bytes_ + entry.bytes.size() > kBytesMax) drop_front(queue, counters);
  if (bytes_ + entry.bytes.size() > kBytesMax) {  // others hold it all
    counters.dropped_queue += count;
    if (!queue.has_turn) queues_.erase(flow);
    return;
  }
  if (!std::exchange(queue.has_turn, true)) turns_.push_back(flow);
  bytes_ += entry.bytes.size();
  packets_ += count;
  queue.packets += count;
  queue.entries.push_back(std::move(entry));
}

void DatagramSender::pop_front(Queue& queue) {
  Entry& entry = queue.entries.front();
  const std::size_t size = front_size(queue);
  entry.offset += size;
  bytes_ -= size;
  --packets_;
  --queue.packets;
  queue.piece_offset = queue.piece_size = 0;
  if (entry.offset >= entry.bytes.size()) queue.entries.pop_front();
}

void DatagramSender::drop_front(Queue& queue, DatagramCounters& counters) {
  ++counters.dropped_queue;
  pop_front(queue);
}

void DatagramSender::drop_old(Instant now, Queue& queue, DatagramCounters& counters) {
  while (queue.packets > 0) {
    const Duration age = now - queue.entries.front().since;
    if (age <= kYoung || (queue.packets <= kPacketsMax && age <= kAgeMax)) return;
    drop_front(queue, counters);
  }
}

bool DatagramSender::prepare(Instant now, std::size_t frame_max, const IsReady& is_ready, Frame& frame,
                             DatagramCounters& counters) {
  for (std::size_t seen = 0; seen < turns_.size();) {
    const StreamId flow = turns_.front();
    const auto found = queues_.find(flow);
    drop_old(now, found->second, counters);
    if (found->second.packets == 0) {
      queues_.erase(found);
      turns_.pop_front();
      continue;
    }
    if (found->second.turn_bytes < kTurn && is_ready(flow)) {
      fill(found->second, flow, frame_max, frame);
      return true;
    }
    // A flow whose turn is over stands last with a new one; it is looked at again when nobody else has any.
    const bool had_turn = found->second.turn_bytes >= kTurn;
    found->second.turn_bytes = 0;
    turns_.push_back(turns_.pop_front());
    if (!had_turn) ++seen;
  }
  return false;
}

void DatagramSender::cut(Queue& queue, std::size_t piece_size) {
  queue.packet_id = next_packet_id_++;
  queue.piece_offset = 0;
  queue.piece_size = piece_size;
}

void DatagramSender::fill(Queue& queue, StreamId flow, std::size_t frame_max, Frame& frame) {
  const Entry& entry = queue.entries.front();
  const std::size_t size = front_size(queue);
  const auto whole = wire::FlowDatagramHeader::make(flow.value, {});
  const std::size_t piece_room = frame_max - std::min(frame_max - 1, whole.size + 3);
  if (queue.piece_size == 0 && whole.size + size > frame_max) {
    cut(queue, std::max(piece_room, size / wire::FlowDatagram::kPiecesMax + 1));
  }
  // The path takes less than when the cutting began: begin again, the receiver forgets the old pieces.
  if (queue.piece_size > piece_room) cut(queue, piece_room);
  if (queue.piece_size == 0) {
    frame.header = whole;
    prepared_ = size;
  } else {
    prepared_ = std::min(queue.piece_size, size - queue.piece_offset);
    const auto index = static_cast<std::uint8_t>(queue.piece_offset / queue.piece_size);
    const bool is_last = queue.piece_offset + prepared_ == size;
    frame.header = wire::FlowDatagramHeader::make(flow.value, wire::DatagramPiece{queue.packet_id, index, is_last});
  }
  const ByteView payload = entry.bytes.view().subspan(entry.offset + queue.piece_offset, prepared_);
  frame.parts[0] = {frame.header.bytes.data(), frame.header.size};
  frame.parts[1] = {const_cast<std::uint8_t*>(payload.data()), payload.size()};
  frame.count = payload.empty() ? 1 : 2;
  frame.size = frame.header.size + payload.size();
}

void DatagramSender::taken(DatagramCounters& counters) {
  const StreamId flow = turns_.front();
  Queue& queue = queues_.find(flow)->second;
  queue.turn_bytes += prepared_;
  debt_ = std::min(debt_ + prepared_, kTurn);
  ++counters.frames_sent;
  queue.piece_offset += prepared_;
  if (queue.piece_size > 0 && queue.piece_offset < front_size(queue)) return;
  ++counters.sent;
  pop_front(queue);
  if (queue.packets > 0) return;
  queues_.erase(flow);
  turns_.pop_front();
}

}  // namespace postern::session
