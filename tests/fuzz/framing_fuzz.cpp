// Varints and length-prefixed messages, and the messages of stream heads and of the control stream in them.
//
// Holds: a stream gives the same messages whatever pieces it comes in, no more than its bound, no byte lost or read
// twice; a varint that was read is written back to the same value in no more bytes; a message that protobuf accepts
// survives writing and reading again.
#include "fuzz.hpp"
#include "schema/session.pb.h"
#include "wire/framing.hpp"

namespace {

using namespace postern;
using namespace postern::wire;

struct Reading {
  std::vector<Bytes> messages;
  std::size_t taken = 0;
  bool failed = false;
  bool at_boundary = false;
  bool operator==(const Reading&) const = default;
};

/// Pieces of `piece` bytes, or, for 0, of growing sizes.
Reading read(ByteView bytes, std::size_t message_max, std::size_t piece) {
  LengthPrefixedReader reader(message_max);
  Reading reading;
  std::size_t step = piece == 0 ? 1 : piece;
  while (!bytes.empty() && !reading.failed) {
    const ByteView part = bytes.first(std::min(step, bytes.size()));
    if (piece == 0) step = step * 2 % 97 + 1;
    const auto taken = reader.feed(part);
    reading.failed = !taken;
    if (reading.failed) {
      FUZZ_CHECK(!reader.feed(part).has_value());
      break;
    }
    FUZZ_CHECK(*taken <= part.size() && *taken > 0);
    bytes = bytes.subspan(*taken);
    reading.taken += *taken;
    if (reader.has_message()) {
      FUZZ_CHECK(reader.message().size() <= message_max);
      FUZZ_CHECK(reader.feed(bytes).value_or(1) == 0);
      reading.messages.push_back(to_bytes(reader.message()));
      reader.next();
    }
  }
  reading.at_boundary = reader.is_at_boundary();
  return reading;
}

template <typename Message>
void check_message(ByteView bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const std::string written = message.SerializeAsString();
  Message again;
  FUZZ_CHECK(again.ParseFromString(written));
  FUZZ_CHECK(again.SerializeAsString() == written);
}

void check_varint(ByteView bytes) {
  ByteReader reader(bytes);
  const auto value = read_varint(reader);
  FUZZ_CHECK(value.has_value() == reader.ok());
  if (!value) return;
  FUZZ_CHECK(*value <= kVarintMax);
  std::array<std::uint8_t, 8> buffer{};
  ByteWriter writer(buffer);
  write_varint(writer, *value);
  FUZZ_CHECK(writer.ok() && writer.size() == varint_size(*value) && writer.size() <= reader.offset());
  ByteReader back(writer.written());
  FUZZ_CHECK(read_varint(back) == value);
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  std::vector<Bytes> all;
  FlowHead head;
  head.mutable_open_tcp()->set_resource_id(2);
  head.mutable_open_tcp()->set_host("nginx.home.lan");
  head.mutable_open_tcp()->set_port(443);
  FlowReply reply;
  reply.mutable_refused()->set_reason(REFUSAL_SHADOWED);
  reply.mutable_refused()->set_detail("another entry is closer");
  SessionMessage hello;
  hello.mutable_hello()->set_protocol_version(1);
  hello.mutable_hello()->set_lease("a.b.c");
  SessionMessage revoked;
  revoked.mutable_revoked()->add_resource_ids(7);
  const auto framed = [](const google::protobuf::MessageLite& message) {
    return frame_message(as_bytes(message.SerializeAsString()));
  };
  all.push_back(Script().u8(0).raw(framed(head)).raw("payload").bytes());
  all.push_back(Script().u8(0).raw(framed(reply)).bytes());
  all.push_back(Script().u8(1).raw(framed(hello)).raw(framed(revoked)).bytes());
  all.push_back(Script().u8(1).u8(0x80).u8(0).u8(0xff).u8(0xff).bytes());
  return all;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t message_max = (data[0] & 1) == 0 ? kFlowMessageMax : kSessionMessageMax;
  const ByteView bytes(data + 1, size - 1);
  check_varint(bytes);
  const Reading whole = read(bytes, message_max, SIZE_MAX);
  FUZZ_CHECK(read(bytes, message_max, 1).messages == whole.messages);
  FUZZ_CHECK(read(bytes, message_max, 0).messages == whole.messages);
  FUZZ_CHECK(whole.failed || whole.taken == bytes.size());
  for (const Bytes& message : whole.messages) {
    check_message<FlowHead>(message);
    check_message<FlowReply>(message);
    check_message<SessionMessage>(message);
    const Bytes framed = frame_message(message);
    const Reading again = read(framed, message_max, SIZE_MAX);
    FUZZ_CHECK(again.messages.size() == 1 && again.messages[0] == message && again.at_boundary);
  }
  return 0;
}
