// The other end of a relay link for tests: TLS by hand on a descriptor, so that it can say what no LinkSocket says.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <csignal>
#include <vector>

#include "runtime/http/http_fixture.hpp"
#include "runtime/http/link_socket.hpp"
#include "wire/link_message.hpp"

namespace postern::runtime {

/// Takes its turns with pump().
class RawPeer {
 public:
  enum class Role : std::uint8_t { Server, Client };

  RawPeer(Descriptor descriptor, const TlsContext& context, Role role)
      : descriptor_(std::move(descriptor)), context_(context), tls_(SSL_new(context.get())) {
    SSL_set_fd(tls_.get(), descriptor_.get());
    role == Role::Server ? SSL_set_accept_state(tls_.get()) : SSL_set_connect_state(tls_.get());
    SSL_set_mode(tls_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  }

  void say(std::string_view text) { unsent_.append(text); }
  void say(ByteView bytes) { say(as_text(bytes)); }
  /// Writes what it can and reads what there is, unless it was told not to.
  void pump() {
    if (!tls_ || is_over_) return;
    if (!SSL_is_init_finished(tls_.get())) (void)SSL_do_handshake(tls_.get());
    while (SSL_is_init_finished(tls_.get()) && !unsent_.empty()) {
      const int size = SSL_write(tls_.get(), unsent_.data(), static_cast<int>(unsent_.size()));
      if (size <= 0) break;
      unsent_.erase(0, static_cast<std::size_t>(size));
    }
    std::array<char, 16384> buffer{};
    while (reads) {
      const int size = SSL_read(tls_.get(), buffer.data(), buffer.size());
      if (size > 0) {
        received.append(buffer.data(), static_cast<std::size_t>(size));
        continue;
      }
      const int error = SSL_get_error(tls_.get(), size);
      is_over_ = error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
      break;
    }
    ERR_clear_error();
  }
  /// The peer has ended the connection, politely or not.
  [[nodiscard]] bool is_over() const { return is_over_; }
  [[nodiscard]] bool has_said_all() const { return unsent_.empty(); }
  /// Without a word of TLS.
  void half_close() { ::shutdown(descriptor_.get(), SHUT_WR); }
  void vanish() {
    tls_.reset();
    descriptor_.reset();
    is_over_ = true;
  }
  [[nodiscard]] LinkSocket::Connection give_away() { return {std::move(descriptor_), std::move(tls_), "192.0.2.1"}; }
  [[nodiscard]] bool is_ready() const { return tls_ && SSL_is_init_finished(tls_.get()); }

  std::string received;
  bool reads = true;

 private:
  Descriptor descriptor_;
  TlsContext context_;
  std::unique_ptr<ssl_st, LinkSocket::FreeTls> tls_;
  std::string unsent_;
  bool is_over_ = false;
};

struct LinkFixture : testing::Test {
  /// As every program does (runtime/loop/signals): a write to a closed socket is an ordinary error.
  LinkFixture() { std::signal(SIGPIPE, SIG_IGN); }

  TestCa ca;
  TlsContext server_context = *make_server_context(ca.chain("postern:controller"), ca.leaf.to_pem());
  ServerTrust trust{.root_pin = ca.pin()};
  TlsContext client_context = *make_client_context(trust);
  EventLoop loop;
  LinkBuffers buffers;
  std::vector<RawPeer*> peers;

  /// Turns until `condition`; false after ten seconds.
  template <typename Condition>
  bool until(Condition condition) {
    const Instant end = monotonic_now() + std::chrono::seconds(10);
    while (!condition()) {
      if (monotonic_now() > end) return false;
      for (RawPeer* peer : peers) peer->pump();
      loop.run_turn(std::chrono::milliseconds(1));
    }
    return true;
  }
  void turn_for(Duration time) {
    const Instant end = monotonic_now() + time;
    while (monotonic_now() < end) {
      for (RawPeer* peer : peers) peer->pump();
      loop.run_turn(std::chrono::milliseconds(1));
    }
  }

  [[nodiscard]] static std::pair<Descriptor, Descriptor> pipe() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
    return {Descriptor(ends[0]), Descriptor(ends[1])};
  }
  /// A server's connection after its handshake, and who is at the other end of it.
  struct Accepted {
    LinkSocket::Connection connection;
    std::unique_ptr<RawPeer> peer;
  };
  [[nodiscard]] Accepted accepted() {
    auto [ours, theirs] = pipe();
    RawPeer server(std::move(ours), server_context, RawPeer::Role::Server);
    auto peer = std::make_unique<RawPeer>(std::move(theirs), client_context, RawPeer::Role::Client);
    server.reads = false;
    for (int i = 0; i < 10 && !(server.is_ready() && peer->is_ready()); ++i) {
      peer->pump();
      server.pump();
    }
    EXPECT_TRUE(server.is_ready() && peer->is_ready());
    return {server.give_away(), std::move(peer)};
  }
};

/// A frame of the agent's side (masked, with zeros) or of the relay's.
[[nodiscard]] inline Bytes link_frame(wire::FrameKind kind, ByteView payload, bool masked = true) {
  Bytes out(wire::kFrameHeaderMax);
  const auto mask = masked ? std::optional(wire::FrameMask{}) : std::nullopt;
  out.resize(wire::write_frame_header(out, kind, payload.size(), mask));
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

/// A train of `count` datagrams of `stride` bytes.
[[nodiscard]] inline Bytes link_message(std::size_t count, std::size_t stride, std::uint8_t fill = 0x41) {
  Bytes payload(2 + count * stride, fill);
  store_u16(payload.data(), static_cast<std::uint16_t>(stride));
  return payload;
}

struct ReadFrame {
  wire::FrameKind kind{};
  Bytes payload;
};
/// What is whole of `text`, which must be frames and the start of one.
[[nodiscard]] inline std::vector<ReadFrame> read_frames(std::string_view text, bool masked) {
  std::vector<ReadFrame> frames;
  Bytes bytes = to_bytes(as_bytes(text));
  MutableBytes rest(bytes);
  while (true) {
    const auto frame = wire::parse_frame(rest, masked, wire::kLinkMessageMax);
    EXPECT_TRUE(frame.has_value());
    if (!frame || !*frame) return frames;
    frames.push_back({(*frame)->kind, to_bytes((*frame)->payload)});
    rest = rest.subspan((*frame)->size);
  }
}

}  // namespace postern::runtime
