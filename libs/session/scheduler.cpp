#include "session/scheduler.hpp"

namespace postern::session {

Scheduler::List& Scheduler::list_of(SendClass send_class) {
  if (send_class == SendClass::Control) return control_;
  return send_class == SendClass::Sparse ? sparse_ : bulk_;
}

SendClass Scheduler::class_of(const Stream& stream) {
  if (stream.id == kControlStream) return SendClass::Control;
  return stream.is_bulk ? SendClass::Bulk : SendClass::Sparse;
}

void Scheduler::append(Stream& stream) {
  stream.send_class = class_of(stream);
  List& list = list_of(stream.send_class);
  stream.previous = list.last;
  stream.next = nullptr;
  (list.last != nullptr ? list.last->next : list.first) = &stream;
  list.last = &stream;
  stream.turn_bytes = 0;
}

void Scheduler::activate(Stream& stream) {
  if (stream.send_class != SendClass::Idle || stream.flow_blocked || !stream.has_to_send()) return;
  append(stream);
}

void Scheduler::remove(Stream& stream) {
  if (stream.send_class == SendClass::Idle) return;
  List& list = list_of(stream.send_class);
  (stream.previous != nullptr ? stream.previous->next : list.first) = stream.next;
  (stream.next != nullptr ? stream.next->previous : list.last) = stream.previous;
  stream.previous = stream.next = nullptr;
  stream.send_class = SendClass::Idle;
}

Stream* Scheduler::front() const {
  if (control_.first != nullptr) return control_.first;
  return sparse_.first != nullptr ? sparse_.first : bulk_.first;
}

void Scheduler::charge(Stream& stream, std::size_t bytes) {
  stream.turn_bytes += bytes;
  if (!stream.has_to_send()) {
    remove(stream);
    stream.is_bulk = false;
  } else if (stream.turn_bytes >= kTurn) {
    remove(stream);
    stream.is_bulk = true;
    append(stream);
  }
}

}  // namespace postern::session
