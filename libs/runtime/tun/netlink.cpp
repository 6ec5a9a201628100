#include "runtime/tun/netlink.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace postern::runtime {
namespace {

/// The kernel fills dumps in pieces of at most 32 KiB.
constexpr std::size_t kReceiveSize = 64 * 1024;

std::uint16_t u16(std::size_t value) {
  return static_cast<std::uint16_t>(value);
}

}  // namespace

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = u16(NLM_F_REQUEST | flags);
  put(header);
}

void NetlinkMessage::append(const void* data, std::size_t size) {
  const auto* from = static_cast<const std::uint8_t*>(data);
  bytes_.insert(bytes_.end(), from, from + size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void NetlinkMessage::attribute(std::uint16_t type, ByteView value) {
  const rtattr header{u16(RTA_LENGTH(value.size())), type};
  append(&header, sizeof header);
  append(value.data(), value.size());
}

void NetlinkMessage::attribute_u32(std::uint16_t type, std::uint32_t value) {
  attribute(type, {reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
}

void NetlinkMessage::attribute_text(std::uint16_t type, std::string_view value) {
  attribute(type, as_bytes(value));
}

std::size_t NetlinkMessage::begin_nested(std::uint16_t type) {
  const std::size_t mark = bytes_.size();
  attribute(type, {});
  return mark;
}

void NetlinkMessage::end_nested(std::size_t mark) {
  const std::uint16_t size = u16(bytes_.size() - mark);
  std::memcpy(bytes_.data() + mark, &size, sizeof size);
}

Bytes& NetlinkMessage::finish() {
  const auto size = static_cast<std::uint32_t>(bytes_.size());
  std::memcpy(bytes_.data(), &size, sizeof size);
  return bytes_;
}

void for_each_attribute(ByteView bytes, const std::function<void(std::uint16_t, ByteView)>& visit) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.rta_len < sizeof header || header.rta_len > bytes.size()) return;
    visit(u16(header.rta_type & 0x3fffU), bytes.subspan(sizeof header, header.rta_len - sizeof header));
    bytes = bytes.subspan(std::min<std::size_t>(RTA_ALIGN(header.rta_len), bytes.size()));
  }
}

std::expected<NetlinkSocket, int> NetlinkSocket::open() {
  Descriptor fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return std::unexpected(errno);
  const timeval patience{2, 0};  // the kernel answers within the call; never hang on a lost acknowledgement
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return NetlinkSocket(std::move(fd));
}

std::expected<void, int> NetlinkSocket::send(NetlinkMessage& message) {
  Bytes& bytes = message.finish();
  ++sequence_;
  std::memcpy(bytes.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence_, sizeof sequence_);
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const ssize_t sent =
      sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
  if (sent < 0) return std::unexpected(errno);
  return {};
}

std::expected<void, int> NetlinkSocket::receive(const std::function<void(std::uint16_t, ByteView)>& visit) {
  Bytes buffer(kReceiveSize);
  for (;;) {
    const ssize_t got = recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(errno);
    ByteView rest(buffer.data(), static_cast<std::size_t>(got));
    while (rest.size() >= sizeof(nlmsghdr)) {
      nlmsghdr header{};
      std::memcpy(&header, rest.data(), sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) return std::unexpected(EBADMSG);
      const ByteView payload = rest.subspan(sizeof header, header.nlmsg_len - sizeof header);
      rest = rest.subspan(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
      if (header.nlmsg_seq != sequence_) continue;  // late answer to a request that was given up
      if (header.nlmsg_type == NLMSG_DONE) return {};
      if (header.nlmsg_type == NLMSG_ERROR) {
        int code = 0;
        if (payload.size() < sizeof code) return std::unexpected(EBADMSG);
        std::memcpy(&code, payload.data(), sizeof code);
        if (code == 0) return {};
        return std::unexpected(-code);
      }
      visit(header.nlmsg_type, payload);
    }
  }
}

std::expected<void, int> NetlinkSocket::request(NetlinkMessage message) {
  if (auto sent = send(message); !sent) return sent;
  return receive([](std::uint16_t, ByteView) {});
}

std::expected<void, int> NetlinkSocket::dump(NetlinkMessage message,
                                             const std::function<void(std::uint16_t, ByteView)>& visit) {
  if (auto sent = send(message); !sent) return sent;
  return receive(visit);
}

}  // namespace postern::runtime
