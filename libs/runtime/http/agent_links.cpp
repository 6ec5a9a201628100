#include "runtime/http/agent_links.hpp"

#include <map>
#include <thread>

#include "runtime/http/io_loop.hpp"
#include "runtime/http/tcp_connect.hpp"

namespace postern::runtime {

/// The thread that connects.
class AgentLinks::Dialer {
 public:
  using Done = std::function<void(std::expected<Descriptor, std::string>, TlsContext)>;

  Dialer() : thread_([this] { loop_.run(); }) {}
  ~Dialer() {
    loop_.post([this] {
      running_.clear();
      loop_.stop();
    });
    thread_.join();
  }

  /// `done` is called on this thread.
  void dial(const Wish& wish, Done done) {
    loop_.post([this, wish, done = std::move(done)]() mutable { begin(wish, std::move(done)); });
  }
  void cancel(const SocketAddress& link, std::uint64_t attempt) {
    loop_.post([this, link, attempt] { running_.erase({link, attempt}); });
  }

 private:
  using Key = std::pair<SocketAddress, std::uint64_t>;

  void begin(const Wish& wish, Done done) {
    auto context = make_client_context(wish.trust);
    if (!context) return done(std::unexpected(context.error()), {});
    const Key key{wish.link, wish.attempt};
    const std::uint64_t number = ++dials_;
    auto& connect = running_[key].connect;
    running_[key].number = number;
    connect = std::make_unique<TcpConnect>(loop_, wish.server,
                                           [this, key, number, done = std::move(done),
                                            context = *context](std::expected<TcpConnected, std::string> connected) {
                                             if (connected) {
                                               done(Descriptor(connected->descriptor), context);
                                             } else {
                                               done(std::unexpected(connected.error()), {});
                                             }
                                             // Not from inside of its own call, and not the next one in its place.
                                             loop_.post([this, key, number] {
                                               const auto found = running_.find(key);
                                               if (found != running_.end() && found->second.number == number)
                                                 running_.erase(found);
                                             });
                                           });
    connect->start();
  }

  struct Dial {
    std::uint64_t number = 0;
    std::unique_ptr<TcpConnect> connect;
  };

  IoLoop loop_;
  std::map<Key, Dial> running_;
  std::uint64_t dials_ = 0;
  std::thread thread_;
};

AgentLinks::Wish AgentLinks::make_wish(const wire::WantedLink& wanted, const ServerAddress& server,
                                       const ServerTrust& trust) {
  if (!wanted.key_digest || wanted.addresses.empty()) return {wanted.link, wanted.attempt, server, trust};
  const SocketAddress& first = wanted.addresses.front();
  ServerAddress relay{first.ip.to_string(), first.port, {}, server.proxies};
  for (const SocketAddress& address : wanted.addresses) {
    if (address.port == first.port) relay.fixed_addresses.push_back(address.ip.to_string());
  }
  return {wanted.link, wanted.attempt, std::move(relay), {.root_pin = {}, .key_pin = wanted.key_digest}};
}

AgentLinks::AgentLinks(EventLoop& loop, Events events, Duration open_max)
    : loop_(loop), events_(std::move(events)), open_max_(open_max), alive_(std::make_shared<bool>(true)) {
  loop_.add_participant(*this);
}

AgentLinks::~AgentLinks() {
  loop_.remove_participant(*this);
  dialer_.reset();
  *alive_ = false;
  for (Entry& entry : entries_) close(entry);
}

AgentLinks::Entry* AgentLinks::find(const SocketAddress& link, std::uint64_t attempt) {
  const auto found = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.wish.link == link && entry.wish.attempt == attempt; });
  return found == entries_.end() ? nullptr : &*found;
}

void AgentLinks::want(const std::vector<Wish>& wishes) {
  std::erase_if(entries_, [&](Entry& entry) {
    const bool is_wanted = std::ranges::any_of(
        wishes, [&](const Wish& wish) { return wish.link == entry.wish.link && wish.attempt == entry.wish.attempt; });
    if (!is_wanted) close(entry);
    return !is_wanted;
  });
  for (const Wish& wish : wishes) {
    if (find(wish.link, wish.attempt) == nullptr) open(loop_.now(), wish);
  }
}

void AgentLinks::open(Instant now, const Wish& wish) {
  entries_.push_back({wish, nullptr, now + open_max_, {}, false});
  if (!dialer_) dialer_ = std::make_unique<Dialer>();
  dialer_->dial(wish, [this, alive = alive_, link = wish.link, attempt = wish.attempt](
                          std::expected<Descriptor, std::string> connected, TlsContext context) {
    auto descriptor = std::make_shared<Descriptor>(connected ? std::move(*connected) : Descriptor());
    const std::string problem = connected ? "" : connected.error();
    // When the mailbox is full the deadline says so.
    (void)loop_.post([this, alive, link, attempt, descriptor, problem, context] {
      if (!*alive) return;
      problem.empty() ? handle_connected(link, attempt, std::move(*descriptor), context)
                      : handle_failed(link, attempt, problem);
    });
  });
}

void AgentLinks::handle_connected(const SocketAddress& link, std::uint64_t attempt, Descriptor descriptor,
                                  TlsContext context) {
  if (Entry* entry = find(link, attempt)) start(*entry, std::move(descriptor), std::move(context));
}

void AgentLinks::handle_failed(const SocketAddress& link, std::uint64_t attempt, const std::string& reason) {
  Entry* entry = find(link, attempt);
  if (entry == nullptr) return;
  close(*entry);
  // Gone first: who is told wants the next attempt.
  std::erase_if(entries_, [&](const Entry& one) { return &one == entry; });
  events_.closed(link, reason);
}

void AgentLinks::start(Entry& entry, Descriptor descriptor, TlsContext context) {
  const SocketAddress link = entry.wish.link;
  const std::uint64_t attempt = entry.wish.attempt;
  LinkSocket::Events events{
      .opened =
          [this, link, attempt] {
            if (Entry* found = find(link, attempt)) found->opened = true;
            events_.opened(link);
          },
      .train = [this, link](MutableBytes bytes, std::size_t stride) { events_.train(link, bytes, stride); },
      .closed = [this, link, attempt](const std::string& reason) { handle_failed(link, attempt, reason); }};
  entry.socket = LinkSocket::connect(loop_, buffers_, std::move(descriptor),
                                     {entry.wish.server, entry.wish.trust, std::move(context)}, std::move(events));
}

void AgentLinks::account(Entry& entry) {
  if (!entry.socket) return;
  const LinkCounters& now = entry.socket->counters();
  counters_.bytes_received += now.bytes_received - entry.counted.bytes_received;
  counters_.bytes_sent += now.bytes_sent - entry.counted.bytes_sent;
  counters_.dropped_datagrams += now.dropped_datagrams - entry.counted.dropped_datagrams;
  entry.counted = now;
}

void AgentLinks::close(Entry& entry) {
  account(entry);
  if (entry.socket) {
    entry.socket->close();
  } else if (dialer_) {
    dialer_->cancel(entry.wish.link, entry.wish.attempt);
  }
  entry.socket = nullptr;
}

void AgentLinks::send(Instant now, const SocketAddress& link, ByteView bytes, std::size_t stride) {
  used_ = now;
  for (Entry& entry : entries_) {
    if (entry.wish.link == link && entry.socket) return entry.socket->send(now, bytes, stride);
  }
  ++counters_.dropped_datagrams;
}

bool AgentLinks::is_blocked(Instant now) const {
  return std::ranges::any_of(entries_, [&](const Entry& entry) {
    return entry.socket && entry.socket->is_blocked() && now - entry.socket->waiting_since() < kPatience;
  });
}

void AgentLinks::end_turn(Instant now) {
  for (Entry& entry : entries_) account(entry);
  if (entries_.empty() && now - used_ > kIdleMax) buffers_.give_back();
  for (bool again = true; again;) {
    again = false;
    for (const Entry& entry : entries_) {
      const bool is_late = !entry.opened && now >= entry.deadline;
      if (!is_late && !(entry.socket && entry.socket->is_closed())) continue;
      const SocketAddress link = entry.wish.link;
      handle_failed(link, entry.wish.attempt,
                    is_late ? "it gave no answer in time" : std::string(entry.socket->end_reason()));
      again = true;
      break;
    }
  }
}

std::optional<Instant> AgentLinks::next_timeout() const {
  std::optional<Instant> next;
  for (const Entry& entry : entries_) {
    if (!entry.opened) next = std::min(next.value_or(entry.deadline), entry.deadline);
  }
  return next;
}

}  // namespace postern::runtime
