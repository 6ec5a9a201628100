// The system's D-Bus, for the services that own the host's DNS (systemd-resolved, NetworkManager).
//
// sd-bus does the work. Its library is loaded when it is first needed instead of being linked: hosts without systemd
// have no D-Bus service for us and no libsystemd, and there the daemon must start all the same; and a private copy
// would bring five further libraries along. elogind's library has the same functions under the same names.
//
// Calls wait for their answer, at most kCallTimeout: use it on a thread that may wait.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/time.hpp"

namespace postern::runtime {

struct BusTarget {
  const char* service;
  const char* path;
  const char* interface;
};

/// Arguments of a call, in the order of its signature.
class BusCall {
 public:
  BusCall(BusCall&& other) noexcept;
  BusCall& operator=(BusCall&&) = delete;
  ~BusCall();

  BusCall& i32(std::int32_t value);
  BusCall& u32(std::uint32_t value);
  BusCall& flag(bool value);
  BusCall& text(const std::string& value);
  BusCall& bytes(ByteView value);
  /// `contents` is a D-Bus signature: "s", "(sb)". Each is ended by close().
  BusCall& open_array(const char* contents);
  BusCall& open_struct(const char* contents);
  BusCall& close();

 private:
  friend class SystemBus;
  BusCall() = default;
  void note(int result) { error_ = error_ < 0 ? error_ : result; }

  void* message_ = nullptr;
  int error_ = 0;
};

/// Values of an answer or a property, read in order. A value of another type than asked for is nothing, and so is all
/// that follows it.
class BusReply {
 public:
  BusReply(BusReply&& other) noexcept;
  BusReply& operator=(BusReply&&) = delete;
  ~BusReply();

  std::optional<std::int32_t> i32();
  std::optional<bool> flag();
  std::optional<std::string> text();
  std::optional<std::string> object_path();
  std::optional<Bytes> bytes();
  /// False at the end of the enclosing array, or where something else comes.
  bool enter_array(const char* contents) { return enter('a', contents); }
  bool enter_struct(const char* contents) { return enter('r', contents); }
  bool enter_entry(const char* contents) { return enter('e', contents); }
  bool enter_variant(const char* contents) { return enter('v', contents); }
  void leave();
  void skip(const char* signature);

 private:
  friend class SystemBus;
  BusReply() = default;
  bool enter(char kind, const char* contents);

  void* message_ = nullptr;
};

class SystemBus {
 public:
  static constexpr Duration kCallTimeout = std::chrono::seconds(3);

  /// The error says that there is no bus, or no library for it.
  [[nodiscard]] static std::expected<SystemBus, std::string> open();
  SystemBus(SystemBus&& other) noexcept;
  SystemBus& operator=(SystemBus&& other) noexcept;
  ~SystemBus();

  /// Whether a service runs; nothing is started by asking.
  [[nodiscard]] bool has_owner(const char* service);
  [[nodiscard]] BusCall prepare(const BusTarget& target, const char* method);
  /// The error is the service's own words, or that it gave no answer.
  [[nodiscard]] std::expected<BusReply, std::string> call(BusCall call);
  /// A property; the reply starts inside the variant.
  [[nodiscard]] std::expected<BusReply, std::string> get(const BusTarget& target, const char* property,
                                                         const char* signature);

  /// `heard` is called by dispatch() for each signal that `rule` matches.
  [[nodiscard]] bool watch(const std::string& rule, std::function<void()> heard);
  /// For an event loop: readable when dispatch() has something to do. Calls may also leave something to it.
  [[nodiscard]] int fd() const;
  /// False when the connection is gone.
  [[nodiscard]] bool dispatch();

 private:
  struct Watches;
  SystemBus() = default;
  void* bus_ = nullptr;
  std::unique_ptr<Watches> watches_;
};

}  // namespace postern::runtime
