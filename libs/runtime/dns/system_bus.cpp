#include "runtime/dns/system_bus.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <list>
#include <utility>

namespace postern::runtime {

namespace {

/// sd_bus_error(3)
struct BusError {
  const char* name = nullptr;
  const char* message = nullptr;
  int need_free = 0;
};

using SignalHandler = int (*)(void* message, void* user_data, BusError* error);

/// The functions that we use, as sd-bus(3) documents them. Buses, messages and slots are opaque.
struct Api {
  int (*open_system)(void** bus) = nullptr;
  void* (*flush_close_unref)(void* bus) = nullptr;
  int (*get_fd)(void* bus) = nullptr;
  int (*process)(void* bus, void** message) = nullptr;
  int (*add_match)(void* bus, void** slot, const char* rule, SignalHandler handler, void* user_data) = nullptr;
  int (*new_method_call)(void* bus, void** message, const char* service, const char* path, const char* interface,
                         const char* member) = nullptr;
  int (*call)(void* bus, void* message, std::uint64_t timeout_us, BusError* error, void** reply) = nullptr;
  void (*error_free)(BusError* error) = nullptr;
  void* (*message_unref)(void* message) = nullptr;
  int (*append_basic)(void* message, char type, const void* value) = nullptr;
  int (*append_array)(void* message, char type, const void* data, std::size_t size) = nullptr;
  int (*open_container)(void* message, char type, const char* contents) = nullptr;
  int (*close_container)(void* message) = nullptr;
  int (*read_basic)(void* message, char type, void* value) = nullptr;
  int (*read_array)(void* message, char type, const void** data, std::size_t* size) = nullptr;
  int (*enter_container)(void* message, char type, const char* contents) = nullptr;
  int (*exit_container)(void* message) = nullptr;
  int (*skip)(void* message, const char* types) = nullptr;

  bool is_complete = false;
};

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

Api load() {
  Api api;
  void* library = nullptr;
  for (const char* name : {"libsystemd.so.0", "libelogind.so.0"}) {
    if (library == nullptr) library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) return api;
  api.is_complete =
      find(library, "sd_bus_open_system", api.open_system) &&
      find(library, "sd_bus_flush_close_unref", api.flush_close_unref) && find(library, "sd_bus_get_fd", api.get_fd) &&
      find(library, "sd_bus_process", api.process) && find(library, "sd_bus_add_match", api.add_match) &&
      find(library, "sd_bus_message_new_method_call", api.new_method_call) && find(library, "sd_bus_call", api.call) &&
      find(library, "sd_bus_error_free", api.error_free) && find(library, "sd_bus_message_unref", api.message_unref) &&
      find(library, "sd_bus_message_append_basic", api.append_basic) &&
      find(library, "sd_bus_message_append_array", api.append_array) &&
      find(library, "sd_bus_message_open_container", api.open_container) &&
      find(library, "sd_bus_message_close_container", api.close_container) &&
      find(library, "sd_bus_message_read_basic", api.read_basic) &&
      find(library, "sd_bus_message_read_array", api.read_array) &&
      find(library, "sd_bus_message_enter_container", api.enter_container) &&
      find(library, "sd_bus_message_exit_container", api.exit_container) &&
      find(library, "sd_bus_message_skip", api.skip);
  return api;
}

/// Loaded once and never unloaded; the table does not change afterwards.
const Api& api() {
  static const Api loaded = load();
  return loaded;
}

/// Where every distribution has it.
constexpr const char* kSocket = "/run/dbus/system_bus_socket";
constexpr std::uint64_t kTimeoutUs =
    static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(SystemBus::kCallTimeout).count());

}  // namespace

// --- arguments -------------------------------------------------------------------------------------------------------

BusCall::BusCall(BusCall&& other) noexcept : message_(std::exchange(other.message_, nullptr)), error_(other.error_) {}

BusCall::~BusCall() {
  if (message_ != nullptr) api().message_unref(message_);
}

BusCall& BusCall::i32(std::int32_t value) {
  if (error_ >= 0) note(api().append_basic(message_, 'i', &value));
  return *this;
}

BusCall& BusCall::u32(std::uint32_t value) {
  if (error_ >= 0) note(api().append_basic(message_, 'u', &value));
  return *this;
}

BusCall& BusCall::flag(bool value) {
  const int number = value ? 1 : 0;
  if (error_ >= 0) note(api().append_basic(message_, 'b', &number));
  return *this;
}

BusCall& BusCall::text(const std::string& value) {
  if (error_ >= 0) note(api().append_basic(message_, 's', value.c_str()));
  return *this;
}

BusCall& BusCall::bytes(ByteView value) {
  if (error_ >= 0) note(api().append_array(message_, 'y', value.data(), value.size()));
  return *this;
}

BusCall& BusCall::open_array(const char* contents) {
  if (error_ >= 0) note(api().open_container(message_, 'a', contents));
  return *this;
}

BusCall& BusCall::open_struct(const char* contents) {
  if (error_ >= 0) note(api().open_container(message_, 'r', contents));
  return *this;
}

BusCall& BusCall::close() {
  if (error_ >= 0) note(api().close_container(message_));
  return *this;
}

// --- answers ---------------------------------------------------------------------------------------------------------

BusReply::BusReply(BusReply&& other) noexcept : message_(std::exchange(other.message_, nullptr)) {}

BusReply::~BusReply() {
  if (message_ != nullptr) api().message_unref(message_);
}

std::optional<std::int32_t> BusReply::i32() {
  std::int32_t value = 0;
  if (api().read_basic(message_, 'i', &value) <= 0) return std::nullopt;
  return value;
}

std::optional<bool> BusReply::flag() {
  int value = 0;
  if (api().read_basic(message_, 'b', &value) <= 0) return std::nullopt;
  return value != 0;
}

std::optional<std::string> BusReply::text() {
  const char* value = nullptr;
  if (api().read_basic(message_, 's', static_cast<void*>(&value)) <= 0) return std::nullopt;
  return value;
}

std::optional<std::string> BusReply::object_path() {
  const char* value = nullptr;
  if (api().read_basic(message_, 'o', static_cast<void*>(&value)) <= 0) return std::nullopt;
  return value;
}

std::optional<Bytes> BusReply::bytes() {
  const void* data = nullptr;
  std::size_t size = 0;
  if (api().read_array(message_, 'y', &data, &size) <= 0) return std::nullopt;  // 0: the end of an array around it
  const auto* const begin = static_cast<const std::uint8_t*>(data);
  return Bytes(begin, begin + size);
}

bool BusReply::enter(char kind, const char* contents) {
  return api().enter_container(message_, kind, contents) > 0;
}

void BusReply::leave() {
  (void)api().exit_container(message_);
}

void BusReply::skip(const char* signature) {
  (void)api().skip(message_, signature);
}

// --- the bus ---------------------------------------------------------------------------------------------------------

struct SystemBus::Watches {
  std::list<std::function<void()>> all;  ///< a list: sd-bus keeps pointers to its entries

  static int heard(void* /*message*/, void* user_data, BusError* /*error*/) {
    (*static_cast<std::function<void()>*>(user_data))();
    return 0;
  }
};

std::expected<SystemBus, std::string> SystemBus::open() {
  // Where there is no bus its library is not needed, and costs nothing.
  const bool has_bus = std::getenv("DBUS_SYSTEM_BUS_ADDRESS") != nullptr || ::access(kSocket, F_OK) == 0;
  if (!has_bus) return std::unexpected("there is no system bus on this host");
  if (!api().is_complete) return std::unexpected("there is no libsystemd (sd-bus) on this host");
  SystemBus bus;
  bus.watches_ = std::make_unique<Watches>();
  const int result = api().open_system(&bus.bus_);
  if (result < 0) return std::unexpected(std::string("the system bus does not answer: ") + std::strerror(-result));
  return bus;
}

SystemBus::SystemBus(SystemBus&& other) noexcept
    : bus_(std::exchange(other.bus_, nullptr)), watches_(std::move(other.watches_)) {}

SystemBus& SystemBus::operator=(SystemBus&& other) noexcept {
  std::swap(bus_, other.bus_);
  std::swap(watches_, other.watches_);
  return *this;
}

SystemBus::~SystemBus() {
  if (bus_ != nullptr) api().flush_close_unref(bus_);
}

bool SystemBus::has_owner(const char* service) {
  constexpr BusTarget kBus = {"org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"};
  auto answer = call(std::move(prepare(kBus, "NameHasOwner").text(service)));
  return answer && answer->flag().value_or(false);
}

BusCall SystemBus::prepare(const BusTarget& target, const char* method) {
  BusCall call;
  call.note(api().new_method_call(bus_, &call.message_, target.service, target.path, target.interface, method));
  return call;
}

std::expected<BusReply, std::string> SystemBus::call(BusCall call) {
  if (call.error_ < 0) return std::unexpected(std::string(std::strerror(-call.error_)));
  BusError error;
  BusReply reply;
  const int result = api().call(bus_, call.message_, kTimeoutUs, &error, &reply.message_);
  if (result >= 0) return reply;
  std::string text = error.message != nullptr ? error.message : std::strerror(-result);
  api().error_free(&error);
  return std::unexpected(std::move(text));
}

std::expected<BusReply, std::string> SystemBus::get(const BusTarget& target, const char* property,
                                                    const char* signature) {
  const BusTarget properties = {target.service, target.path, "org.freedesktop.DBus.Properties"};
  auto reply = call(std::move(prepare(properties, "Get").text(target.interface).text(property)));
  if (reply && !reply->enter_variant(signature)) return std::unexpected(std::string(property) + " has another type");
  return reply;
}

bool SystemBus::watch(const std::string& rule, std::function<void()> heard) {
  watches_->all.push_back(std::move(heard));
  return api().add_match(bus_, nullptr, rule.c_str(), &Watches::heard, &watches_->all.back()) >= 0;
}

int SystemBus::fd() const {
  return api().get_fd(bus_);
}

bool SystemBus::dispatch() {
  while (true) {
    const int result = api().process(bus_, nullptr);
    if (result <= 0) return result == 0;
  }
}

}  // namespace postern::runtime
