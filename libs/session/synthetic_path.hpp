// The pair of addresses that stands for a path inside ngtcp2. It never appears on a wire, and depends on the label
// only, so that a relay may change its address without QUIC taking it for a migration (DESIGN §5.3).
#pragma once

#include <netinet/in.h>
#include <ngtcp2/ngtcp2.h>

#include <cstdint>
#include <cstring>

#include "base/bytes.hpp"

namespace postern::session {

class SyntheticPath {
 public:
  explicit SyntheticPath(std::uint32_t label) {
    make(local_, kLocalSide);
    make(remote_, kRemoteSide);
    set_label(label);
    view_.local = {reinterpret_cast<ngtcp2_sockaddr*>(&local_), sizeof local_};
    view_.remote = {reinterpret_cast<ngtcp2_sockaddr*>(&remote_), sizeof remote_};
  }
  SyntheticPath(const SyntheticPath&) = delete;
  SyntheticPath& operator=(const SyntheticPath&) = delete;

  void set_label(std::uint32_t label) { store_u32(local_.sin6_addr.s6_addr + kLabelOffset, label); }
  [[nodiscard]] const ngtcp2_path& view() const { return view_; }

  /// The label of a path that was made here and has been through ngtcp2.
  [[nodiscard]] static std::uint32_t label_of(const ngtcp2_path& path) {
    sockaddr_in6 local;
    std::memcpy(&local, path.local.addr, sizeof local);
    return load_u32(local.sin6_addr.s6_addr + kLabelOffset);
  }

 private:
  static constexpr std::uint8_t kLocalSide = 1;
  static constexpr std::uint8_t kRemoteSide = 2;
  static constexpr std::size_t kLabelOffset = 12;

  static void make(sockaddr_in6& address, std::uint8_t side) {
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(1);
    address.sin6_addr.s6_addr[0] = 0xfd;  // a unique local address
    address.sin6_addr.s6_addr[1] = side;
  }

  sockaddr_in6 local_{};
  sockaddr_in6 remote_{};
  ngtcp2_path view_{};
};

}  // namespace postern::session
