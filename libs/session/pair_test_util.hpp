// Two endpoints joined by a network of virtual time: delay, jitter, loss, duplicates and outages come from a seed.
//
// Used by the tests of this library and of the cores above it. Nothing here waits: run_until() moves the clock from one
// event to the next.
#pragma once

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "session/credentials.hpp"
#include "session/endpoint.hpp"

namespace postern::session::test {

inline Bytes export_der(const std::function<int(gnutls_datum_t*)>& write) {
  gnutls_datum_t der{};
  if (write(&der) != GNUTLS_E_SUCCESS) return {};
  Bytes bytes(der.data, der.data + der.size);
  gnutls_free(der.data);
  return bytes;
}

/// A fresh P-256 key with a self-signed certificate; it is as random as GnuTLS is.
inline Credentials make_credentials() {
  gnutls_x509_privkey_t key = nullptr;
  gnutls_x509_crt_t certificate = nullptr;
  gnutls_x509_privkey_init(&key);
  gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
  gnutls_x509_crt_init(&certificate);
  gnutls_x509_crt_set_version(certificate, 3);
  gnutls_x509_crt_set_serial(certificate, "\x01", 1);
  // Long past: validity dates are ignored.
  gnutls_x509_crt_set_activation_time(certificate, 0);
  gnutls_x509_crt_set_expiration_time(certificate, 86400);
  gnutls_x509_crt_set_dn(certificate, "CN=postern", nullptr);
  gnutls_x509_crt_set_key(certificate, key);
  gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0);
  Credentials credentials;
  credentials.private_key =
      export_der([key](gnutls_datum_t* der) { return gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_DER, der); });
  credentials.certificate = export_der(
      [certificate](gnutls_datum_t* der) { return gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_DER, der); });
  gnutls_x509_crt_deinit(certificate);
  gnutls_x509_privkey_deinit(key);
  return credentials;
}

/// A knock without secrets: a tag, the device's digest and a time. Tests are not about its MAC.
inline constexpr std::string_view kKnockTag = "knock-ok";
inline Bytes make_knock(const Digest& device, Instant expires = Instant::max()) {
  Bytes knock(kKnockTag.size() + device.size() + 8);
  ByteWriter writer(knock);
  writer.view(as_bytes(kKnockTag));
  writer.view(device);
  writer.u64(to_nanoseconds(expires));
  return knock;
}

class TestKnocks final : public KnockVerifier {
 public:
  [[nodiscard]] std::expected<Knock, DropReason> verify(Instant now, ByteView token) const override {
    ByteReader reader(token);
    const ByteView tag = reader.view(kKnockTag.size());
    Knock knock{reader.array<32>()};
    const Instant expires = from_nanoseconds(reader.u64());
    if (!reader.ok() || as_text(tag) != kKnockTag) return std::unexpected(DropReason::KnockInvalid);
    if (now >= expires) return std::unexpected(DropReason::KnockExpired);
    return knock;
  }
};

struct LinkOptions {
  Duration delay = std::chrono::milliseconds(10);
  Duration jitter{};  ///< extra delay up to this, per datagram: reorders
  unsigned loss_per_mille = 0;
  unsigned duplicate_per_mille = 0;
  bool down = false;
  std::size_t mtu = 1472;  ///< larger datagrams vanish
  /// Bits per second; 0: no limit. What would wait longer than `queue` for the line is dropped.
  std::uint64_t rate = 0;
  Duration queue = std::chrono::milliseconds(50);
};

/// One direction of the network.
class Link {
 public:
  explicit Link(std::uint64_t seed) : random_(seed) {}

  LinkOptions options;  ///< of the relay's way
  LinkOptions direct;   ///< of the direct one
  /// Sees every datagram that is sent, lost or not.
  std::function<void(ByteView)> tap;
  /// Sees every train that is sent.
  std::function<void(const Transmit&)> train_tap;
  std::uint64_t datagrams = 0;
  std::uint64_t bytes = 0;
  std::uint64_t direct_bytes = 0;

  void send(Instant now, const Transmit& transmit) {
    if (train_tap) train_tap(transmit);
    for (std::size_t at = 0; at < transmit.bytes.size(); at += transmit.stride) {
      send_one(now, transmit.path, transmit.bytes.subspan(at, std::min(transmit.stride, transmit.bytes.size() - at)));
    }
  }
  [[nodiscard]] std::optional<Instant> next() const {
    if (queue_.empty()) return std::nullopt;
    return queue_.begin()->first;
  }
  /// Hands over all that is due, neighbours of one size as one train, like GRO.
  void deliver(Instant now, Endpoint& to) {
    Bytes train;
    std::size_t stride = 0;
    Path path;
    const auto flush = [&] {
      if (!train.empty()) to.handle_train(now, {path, train, stride, 0});
      train.clear();
    };
    while (!queue_.empty() && queue_.begin()->first <= now) {
      const auto node = queue_.extract(queue_.begin());
      const Bytes& datagram = node.mapped().second;
      const bool joins = !train.empty() && path == node.mapped().first && train.size() % stride == 0 &&
                         datagram.size() <= stride && train.size() + datagram.size() <= 65'000;
      if (!joins) {
        flush();
        stride = datagram.size();
        path = node.mapped().first;
      }
      train.insert(train.end(), datagram.begin(), datagram.end());
    }
    flush();
  }

 private:
  void send_one(Instant now, const Path& path, ByteView datagram) {
    const LinkOptions& way = path.is_direct() ? direct : options;
    ++datagrams;
    bytes += datagram.size();
    if (path.is_direct()) direct_bytes += datagram.size();
    if (tap) tap(datagram);
    if (way.down || datagram.size() > way.mtu || random_.below(1000) < way.loss_per_mille) return;
    const auto wait = way.rate > 0 ? wait_for_line(now, way, datagram.size()) : std::optional(Duration{});
    if (!wait) return;
    const int copies = random_.below(1000) < way.duplicate_per_mille ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      const auto extra = random_.below(static_cast<std::uint64_t>(way.jitter.count()) + 1);
      queue_.emplace(now + *wait + way.delay + Duration(static_cast<Duration::rep>(extra)),
                     std::pair(path, to_bytes(datagram)));
    }
  }

  /// Until the datagram is on the line; nothing when the queue before it is full.
  std::optional<Duration> wait_for_line(Instant now, const LinkOptions& way, std::size_t size) {
    const Instant start = std::max(now, line_free_);
    if (start - now > way.queue) return std::nullopt;
    line_free_ = start + Duration(static_cast<Duration::rep>(8'000'000'000ULL * size / way.rate));
    return line_free_ - now;
  }

  SeededRandom random_;
  Instant line_free_;
  std::multimap<Instant, std::pair<Path, Bytes>> queue_;
};

/// One side: an endpoint, and a log of what it reported.
struct Host {
  Host(EndpointConfig config, std::uint64_t seed, const KnockVerifier* knocks)
      : pool(256U << 20), random(seed), endpoint(std::move(config), pool, random, knocks) {}

  BlockPool pool;
  SeededRandom random;
  Endpoint endpoint;
  std::vector<Event> log;
  /// Called for each event after it was logged; may call the endpoint.
  std::function<void(const Event&)> on_event;

  template <typename T>
  [[nodiscard]] const T* find() const {
    for (const Event& event : log) {
      if (const T* found = std::get_if<T>(&event)) return found;
    }
    return nullptr;
  }
  template <typename T>
  [[nodiscard]] std::size_t count() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(log, [](const Event& event) { return std::holds_alternative<T>(event); }));
  }
  [[nodiscard]] std::uint64_t dropped(DropReason reason) const {
    return endpoint.drops()[static_cast<std::size_t>(reason)];
  }
  [[nodiscard]] Slice slice(std::string_view text) { return pool.copy(as_bytes(text)); }
};

struct PairOptions {
  std::uint64_t seed = 1;
  Limits client_limits;
  Limits connector_limits;
  PacketCipher client_cipher = PacketCipher::Fastest;
  PacketCipher connector_cipher = PacketCipher::Fastest;
  LinkOptions link;
  CongestionControl congestion_control = CongestionControl::Bbr;
};

class Pair {
 public:
  static constexpr RouteId kClientRoute{{1, 1, 1, 1, 1, 1, 1}};
  static constexpr RouteId kConnectorRoute{{2, 2, 2, 2, 2, 2, 2}};

  explicit Pair(const PairOptions& options = {})
      : client_credentials(make_credentials()),
        connector_credentials(make_credentials()),
        client_digest(*credentials_digest(client_credentials)),
        connector_digest(*credentials_digest(connector_credentials)),
        client(config(Role::Client, client_credentials, kClientRoute, options.client_limits, options.client_cipher,
                      options.congestion_control),
               options.seed, nullptr),
        connector(config(Role::Connector, connector_credentials, kConnectorRoute, options.connector_limits,
                         options.connector_cipher, options.congestion_control),
                  options.seed + 1, &knocks),
        up(options.seed + 2),
        down(options.seed + 3),
        buffer_(pool_.acquire(BlockClass::Large)) {
    up.options = down.options = up.direct = down.direct = options.link;
  }

  static EndpointConfig config(Role role, const Credentials& credentials, RouteId route, const Limits& limits,
                               PacketCipher cipher, CongestionControl control = CongestionControl::Bbr) {
    EndpointConfig config;
    config.congestion_control = control;
    config.role = role;
    config.credentials = credentials;
    config.route = route;
    config.limits = limits;
    config.packet_cipher = cipher;
    return config;
  }

  [[nodiscard]] ConnectRequest request() const {
    return {{0, *SocketAddress::parse("192.0.2.1:443")}, kConnectorRoute, connector_digest, make_knock(client_digest)};
  }
  /// Starts a session and runs until both sides have it.
  void establish() {
    session = *client.endpoint.connect(now, request());
    run_until([this] { return client.count<Established>() > 0 && connector.count<Established>() > 0; });
    if (const auto* established = connector.find<Established>()) peer_session = established->session;
  }

  /// Lets both sides send all they can now.
  void flush() {
    for (bool moved = true; moved;) {
      moved = drain_events(client);
      moved |= drain_events(connector);
      moved |= transmit(client, up);
      moved |= transmit(connector, down);
    }
  }
  /// Moves the clock until `done` or until `limit` has passed; false at the limit.
  bool run_until(const std::function<bool()>& done, Duration limit = std::chrono::seconds(30)) {
    const Instant end = now + limit;
    for (flush(); !done(); flush()) {
      const Instant next = next_event();
      if (next > end) {
        now = end;
        return false;
      }
      now = std::max(now, next);
      step();
    }
    return true;
  }
  void run_for(Duration duration) {
    (void)run_until([] { return false; }, duration);
  }

  const Credentials client_credentials;
  const Credentials connector_credentials;
  const Digest client_digest;
  const Digest connector_digest;
  TestKnocks knocks;
  Host client;
  Host connector;
  Link up;    ///< client to connector
  Link down;  ///< connector to client
  Instant now{std::chrono::seconds(1000)};
  SessionId session;       ///< the client's name of the session
  SessionId peer_session;  ///< the connector's

 private:
  [[nodiscard]] Instant next_event() const {
    Instant next = Instant::max();
    for (const auto& at : {up.next(), down.next(), client.endpoint.next_timeout(), connector.endpoint.next_timeout()}) {
      if (at) next = std::min(next, *at);
    }
    return next;
  }
  void step() {
    up.deliver(now, connector.endpoint);
    down.deliver(now, client.endpoint);
    for (Host* host : {&client, &connector}) {
      const auto timeout = host->endpoint.next_timeout();
      if (timeout && *timeout <= now) host->endpoint.handle_timeout(now);
    }
  }
  bool drain_events(Host& host) {
    bool any = false;
    while (auto event = host.endpoint.poll_event()) {
      any = true;
      host.log.push_back(*event);
      if (host.on_event) host.on_event(*event);
    }
    return any;
  }
  bool transmit(Host& host, Link& link) {
    bool any = false;
    while (const auto transmit = host.endpoint.poll_transmit(now, buffer_.bytes())) {
      link.send(now, *transmit);
      any = true;
    }
    return any;
  }

  BlockPool pool_{1U << 20};
  Buffer buffer_;
};

/// Answers every stream of `host` with what it received, and finishes when the peer did.
inline void echo(Host& host) {
  host.on_event = [&host](const Event& event) {
    const auto* readable = std::get_if<StreamReadable>(&event);
    if (readable == nullptr) return;
    const auto [session, stream] = *readable;
    for (Slice slice = host.endpoint.read(session, stream); !slice.empty();
         slice = host.endpoint.read(session, stream)) {
      host.endpoint.consume(session, stream, slice.size());
      (void)host.endpoint.write(session, stream, slice);
    }
    if (host.endpoint.at_end(session, stream)) (void)host.endpoint.finish(session, stream);
  };
}

/// Collects what arrives on every stream of `host`.
struct Sink {
  std::map<StreamId, Bytes> received;
  std::map<StreamId, bool> finished;

  void attach(Host& host) {
    host.on_event = [this, &host](const Event& event) {
      const auto* readable = std::get_if<StreamReadable>(&event);
      if (readable != nullptr) take(host, readable->session, readable->stream);
    };
  }
  void take(Host& host, SessionId session, StreamId stream) {
    Bytes& into = received[stream];
    for (Slice slice = host.endpoint.read(session, stream); !slice.empty();
         slice = host.endpoint.read(session, stream)) {
      host.endpoint.consume(session, stream, slice.size());
      into.insert(into.end(), slice.view().begin(), slice.view().end());
    }
    finished[stream] |= host.endpoint.at_end(session, stream);
  }
};

}  // namespace postern::session::test
