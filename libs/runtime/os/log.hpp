// Log lines: `[INFO] [connector] Session is open client=203.0.113.9:4711`.
//
// Values go in as fields, never into the sentence; secrets and payload never. Control characters are escaped, so that a
// peer cannot forge a line. Lines leave whole, from any thread.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace postern::runtime {

/// What a level means:
///   Trace   one line per packet or event; for hunting a defect, slows everything down
///   Debug   decisions and values that identify people, addresses and names
///   Info    the life of the process: started, connected, state changes; nothing identifying
///   Warn    something is degraded but goes on, and a person may want to act
///   Error   something that was asked for does not work until somebody acts
enum class LogLevel : std::uint8_t { Trace, Debug, Info, Warn, Error, Off };
/// "trace", "debug", "info", "warn", "warning", "error", "off", or the product's numbers -1..7.
[[nodiscard]] std::optional<LogLevel> parse_log_level(std::string_view text);
[[nodiscard]] std::string_view to_string(LogLevel level);

enum class TimestampFormat : std::uint8_t { None = 0, Relative = 1, Absolute = 2 };
enum class LogStream : std::uint8_t { Stdout, Stderr };

struct LogConfig {
  LogLevel level = LogLevel::Info;
  TimestampFormat timestamps = TimestampFormat::None;
  LogStream stream = LogStream::Stderr;
};

struct LogField {
  LogField(std::string_view n, std::string_view v) : name(n), value(v) {}
  LogField(std::string_view n, const char* v) : name(n), value(v) {}
  LogField(std::string_view n, const std::string& v) : name(n), value(v) {}
  LogField(std::string_view n, std::integral auto v) : name(n), value(std::to_string(v)) {}
  std::string_view name;
  std::string value;
};
using LogFields = std::initializer_list<LogField>;

/// The text after the timestamp: level, component, sentence, fields. Pure, for tests.
[[nodiscard]] std::string format_log_line(LogLevel level, std::string_view component, std::string_view message,
                                          LogFields fields);

class Logger {
 public:
  Logger(std::string component, LogConfig config);
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  [[nodiscard]] bool is_on(LogLevel level) const;
  void set_level(LogLevel level);
  void log(LogLevel level, std::string_view message, LogFields fields = {});
  /// The same under another component's name, such as "http".
  void log_as(std::string_view component, LogLevel level, std::string_view message, LogFields fields = {});
  void debug(std::string_view message, LogFields fields = {}) { log(LogLevel::Debug, message, fields); }
  void info(std::string_view message, LogFields fields = {}) { log(LogLevel::Info, message, fields); }
  void warn(std::string_view message, LogFields fields = {}) { log(LogLevel::Warn, message, fields); }
  void error(std::string_view message, LogFields fields = {}) { log(LogLevel::Error, message, fields); }
  /// A line without level and component, whatever the level is: `ANALYTICS {json}`.
  void raw_line(std::string_view line);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::runtime
