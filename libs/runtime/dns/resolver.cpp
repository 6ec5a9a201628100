#include "runtime/dns/resolver.hpp"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <unordered_map>

namespace postern::runtime {
namespace {

constexpr const char* kResolvConf = "/etc/resolv.conf";
constexpr std::size_t kCacheMax = 1024;
constexpr std::size_t kAddressesMax = 32;
/// Long enough for a page with many connections, short enough for a container that was given another address.
constexpr Duration kTtlMax = std::chrono::seconds(30);
constexpr int kTimeoutMs = 1000;
constexpr int kTries = 3;
constexpr int kClassInternet = 1;

/// c-ares wants one initialisation per process, before any channel.
void initialise_library() {
  static const int result = ares_library_init(ARES_LIB_INIT_ALL);
  if (result != ARES_SUCCESS) throw std::runtime_error(ares_strerror(result));
}

struct FileStamp {
  ino_t inode = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

FileStamp stamp_of(const char* path) {
  struct stat status {};
  if (stat(path, &status) != 0) return {};
  return {status.st_ino, std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::optional<IpAddress> address_of(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return IpAddress::v4(ntohl(v4->sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    return IpAddress::from_bytes({v6->sin6_addr.s6_addr, 16});
  }
  return std::nullopt;
}

}  // namespace

class Resolver::Impl final : public TurnParticipant {
 public:
  Impl(EventLoop& loop, ResolverConfig config) : loop_(loop), config_(std::move(config)) {
    initialise_library();
    open_channel();
    loop_.add_participant(*this);
  }
  ~Impl() override {
    loop_.remove_participant(*this);
    record_questions_.clear();
    questions_.clear();  // so that the cancelled answers find nobody
    close_channel();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void resolve(const std::string& name, Handler handler) {
    if (const auto address = IpAddress::parse(name)) return handler(std::vector{*address});
    const auto held = cache_.find(name);
    if (held != cache_.end() && held->second.until > loop_.now()) return handler(held->second.addresses);
    const auto asked = questions_.find(name);
    if (asked != questions_.end()) return asked->second.push_back(std::move(handler));
    if (under_way() >= kQuestionsMax) return handler(std::unexpected(DnsFailure::Failed));
    if (under_way() == 0) refresh_channel();
    questions_[name].push_back(std::move(handler));
    ask(name);
  }

  void query(const std::string& name, std::uint16_t type, RecordHandler handler) {
    if (under_way() >= kQuestionsMax) return handler(std::unexpected(DnsFailure::Failed));
    if (under_way() == 0) refresh_channel();
    const std::uint64_t number = ++record_numbers_;
    record_questions_.emplace(number, std::move(handler));
    ares_query(channel_, name.c_str(), kClassInternet, type, &Impl::handle_records, new RecordQuestion{this, number});
    plan();
  }

  void end_turn(Instant now) override {
    if (deadline_ && now >= *deadline_) ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    plan();
  }
  [[nodiscard]] std::optional<Instant> next_timeout() const override { return deadline_; }

 private:
  struct Answer {
    std::vector<IpAddress> addresses;
    Instant until;
  };
  /// What an answer of c-ares is for; freed when it has come.
  struct Question {
    Impl* resolver;
    std::string name;
  };
  struct RecordQuestion {
    Impl* resolver;
    std::uint64_t number;
  };

  [[nodiscard]] std::size_t under_way() const { return questions_.size() + record_questions_.size(); }

  void open_channel() {
    ares_options options{};
    options.timeout = kTimeoutMs;
    options.tries = kTries;
    options.sock_state_cb = [](void* self, ares_socket_t fd, int readable, int writable) {
      static_cast<Impl*>(self)->watch(fd, readable != 0, writable != 0);
    };
    options.sock_state_cb_data = this;
    const int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    int result = ares_init_options(&channel_, &options, mask);
    if (result == ARES_SUCCESS && !config_.servers.empty()) {
      std::string list;
      for (const std::string& server : config_.servers) list += (list.empty() ? "" : ",") + server;
      result = ares_set_servers_ports_csv(channel_, list.c_str());
    }
    if (result != ARES_SUCCESS) throw std::runtime_error(std::string("cannot use DNS: ") + ares_strerror(result));
    stamp_ = stamp_of(kResolvConf);
  }

  void close_channel() {
    ares_destroy(channel_);
    for (const auto& [fd, events] : watched_) loop_.remove(fd);
    watched_.clear();
  }

  void refresh_channel() {
    // Not from inside an answer: the channel that gives it must live on.
    if (answering_ || !config_.servers.empty() || stamp_ == stamp_of(kResolvConf)) return;
    close_channel();
    open_channel();
  }

  void ask(const std::string& name) {
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    auto* question = new Question{this, name};
    ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, &Impl::handle_answer, question);
    plan();
  }

  static void handle_answer(void* argument, int status, int /*timeouts*/, ares_addrinfo* result) {
    const std::unique_ptr<Question> question(static_cast<Question*>(argument));
    question->resolver->finish(question->name, status, result);
    if (result != nullptr) ares_freeaddrinfo(result);
  }

  static void handle_records(void* argument, int /*status*/, int /*timeouts*/, unsigned char* message, int size) {
    const std::unique_ptr<RecordQuestion> question(static_cast<RecordQuestion*>(argument));
    question->resolver->finish(question->number, {message, size > 0 ? static_cast<std::size_t>(size) : 0});
  }

  /// Empty where no server has answered.
  void finish(std::uint64_t number, ByteView message) {
    const auto asked = record_questions_.extract(number);
    if (asked.empty()) return;
    answering_ = true;
    if (message.empty()) {
      asked.mapped()(std::unexpected(DnsFailure::Failed));
    } else {
      asked.mapped()(to_bytes(message));
    }
    answering_ = false;
  }

  void finish(const std::string& name, int status, const ares_addrinfo* result) {
    const auto asked = questions_.find(name);
    if (asked == questions_.end()) return;
    const std::vector<Handler> handlers = std::move(asked->second);
    questions_.erase(asked);
    std::expected<std::vector<IpAddress>, DnsFailure> answer = std::unexpected(DnsFailure::Failed);
    if (status == ARES_SUCCESS) answer = keep(name, result);
    if (status == ARES_ENOTFOUND || status == ARES_ENODATA || status == ARES_EBADNAME) {
      answer = std::unexpected(DnsFailure::NameNotFound);
    }
    answering_ = true;
    for (const Handler& handler : handlers) handler(answer);
    answering_ = false;
  }

  std::vector<IpAddress> keep(const std::string& name, const ares_addrinfo* result) {
    Answer answer;
    Duration ttl = kTtlMax;
    for (const ares_addrinfo_node* node = result->nodes; node != nullptr; node = node->ai_next) {
      const auto address = address_of(node->ai_addr);
      if (!address || answer.addresses.size() >= kAddressesMax) continue;
      if (std::ranges::find(answer.addresses, *address) == answer.addresses.end()) answer.addresses.push_back(*address);
      ttl = std::min<Duration>(ttl, std::chrono::seconds(std::max(node->ai_ttl, 0)));
    }
    answer.until = loop_.now() + ttl;
    std::vector<IpAddress> addresses = answer.addresses;
    if (ttl > Duration::zero()) {
      if (cache_.size() >= kCacheMax)
        std::erase_if(cache_, [&](const auto& e) { return e.second.until <= loop_.now(); });
      if (cache_.size() >= kCacheMax) cache_.clear();
      cache_.insert_or_assign(name, std::move(answer));
    }
    return addresses;
  }

  void watch(int fd, bool readable, bool writable) {
    const auto held = watched_.find(fd);
    const std::uint32_t events = (readable ? EPOLLIN : 0U) | (writable ? EPOLLOUT : 0U);
    if (events == 0) {
      if (held == watched_.end()) return;
      loop_.remove(fd);
      watched_.erase(held);
    } else if (held == watched_.end()) {
      watched_[fd] = events;
      loop_.add(fd, events, [this, fd](std::uint32_t ready) { handle_ready(fd, ready); });
    } else if (held->second != events) {
      held->second = events;
      loop_.modify(fd, events);
    }
  }

  void handle_ready(int fd, std::uint32_t ready) {
    const bool failed = (ready & (EPOLLERR | EPOLLHUP)) != 0;
    ares_process_fd(channel_, failed || (ready & EPOLLIN) != 0 ? fd : ARES_SOCKET_BAD,
                    failed || (ready & EPOLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
  }

  void plan() {
    deadline_.reset();
    timeval wait{};
    if (under_way() == 0 || ares_timeout(channel_, nullptr, &wait) == nullptr) return;
    deadline_ = loop_.now() + std::chrono::seconds(wait.tv_sec) + std::chrono::microseconds(wait.tv_usec) +
                std::chrono::milliseconds(1);
  }

  EventLoop& loop_;
  ResolverConfig config_;
  ares_channel channel_ = nullptr;
  FileStamp stamp_;
  std::unordered_map<int, std::uint32_t> watched_;
  std::unordered_map<std::string, std::vector<Handler>> questions_;
  std::unordered_map<std::uint64_t, RecordHandler> record_questions_;
  std::uint64_t record_numbers_ = 0;
  std::unordered_map<std::string, Answer> cache_;
  std::optional<Instant> deadline_;
  bool answering_ = false;
};

Resolver::Resolver(EventLoop& loop, ResolverConfig config) : impl_(std::make_unique<Impl>(loop, std::move(config))) {}
Resolver::~Resolver() = default;
void Resolver::resolve(const std::string& name, Handler handler) {
  impl_->resolve(name, std::move(handler));
}
void Resolver::query(const std::string& name, std::uint16_t type, RecordHandler handler) {
  impl_->query(name, type, std::move(handler));
}

}  // namespace postern::runtime
