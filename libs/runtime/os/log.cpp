#include "runtime/os/log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <ctime>

namespace postern::runtime {
namespace {

void append_escaped(std::string& out, std::string_view text) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
}

bool needs_quotes(std::string_view value) {
  return value.empty() || value.find_first_of(" =\"") != std::string_view::npos;
}

void append_field(std::string& out, const LogField& field) {
  out += ' ';
  out += field.name;
  out += '=';
  const bool quotes = needs_quotes(field.value);
  if (quotes) out += '"';
  std::string value;
  append_escaped(value, field.value);
  for (const char c : value) {
    if (c == '"') out += '\\';
    out += c;
  }
  if (quotes) out += '"';
}

std::string absolute_time() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  std::array<char, 48> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::array<char, 32> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%03ldZ ", now.tv_nsec / 1'000'000);
  return std::string(text.data(), size) + fraction.data();
}

}  // namespace

std::optional<LogLevel> parse_log_level(std::string_view text) {
  if (text == "trace") return LogLevel::Trace;
  if (text == "debug") return LogLevel::Debug;
  if (text == "info") return LogLevel::Info;
  if (text == "warn" || text == "warning") return LogLevel::Warn;
  if (text == "error") return LogLevel::Error;
  if (text == "off") return LogLevel::Off;
  int number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size() || number < -1 || number > 7) return std::nullopt;
  if (number < 0) return LogLevel::Off;
  if (number <= 3) return LogLevel::Error;
  if (number == 4) return LogLevel::Warn;
  return number == 7 ? LogLevel::Debug : LogLevel::Info;
}

std::string_view to_string(LogLevel level) {
  static constexpr std::array<std::string_view, 6> kNames{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "OFF"};
  return kNames.at(static_cast<std::size_t>(level));
}

std::string format_log_line(LogLevel level, std::string_view component, std::string_view message, LogFields fields) {
  std::string line = "[";
  line += to_string(level);
  line += "] [";
  line += component;
  line += "] ";
  append_escaped(line, message);
  for (const LogField& field : fields) append_field(line, field);
  return line;
}

class Logger::Impl {
 public:
  Impl(std::string component, LogConfig config)
      : component_(std::move(component)),
        timestamps_(config.timestamps),
        level_(config.level),
        sink_(make_sink(config)) {
    sink_.set_level(spdlog::level::trace);
    sink_.set_formatter(std::make_unique<spdlog::pattern_formatter>("%v"));
    sink_.flush_on(spdlog::level::trace);
  }

  [[nodiscard]] bool is_on(LogLevel level) const { return level >= level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) { level_ = level; }
  [[nodiscard]] const std::string& component() const { return component_; }
  void write(std::string_view line) {
    const std::string whole = timestamp() + std::string(line);
    sink_.log(spdlog::level::info, "{}", whole);
  }
  void write_raw(std::string_view line) { sink_.log(spdlog::level::info, "{}", line); }

 private:
  static spdlog::logger make_sink(const LogConfig& config) {
    if (config.stream == LogStream::Stdout) return {"", std::make_shared<spdlog::sinks::stdout_sink_mt>()};
    return {"", std::make_shared<spdlog::sinks::stderr_sink_mt>()};
  }

  [[nodiscard]] std::string timestamp() const {
    if (timestamps_ == TimestampFormat::None) return {};
    if (timestamps_ == TimestampFormat::Absolute) return absolute_time();
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start_);
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%lld.%03lld ", static_cast<long long>(ms.count() / 1000),
                  static_cast<long long>(ms.count() % 1000));
    return text.data();
  }

  std::string component_;
  TimestampFormat timestamps_;
  std::atomic<LogLevel> level_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  spdlog::logger sink_;
};

Logger::Logger(std::string component, LogConfig config) : impl_(std::make_unique<Impl>(std::move(component), config)) {}
Logger::~Logger() = default;

bool Logger::is_on(LogLevel level) const {
  return impl_->is_on(level);
}
void Logger::set_level(LogLevel level) {
  impl_->set_level(level);
}
void Logger::log(LogLevel level, std::string_view message, LogFields fields) {
  log_as(impl_->component(), level, message, fields);
}
void Logger::log_as(std::string_view component, LogLevel level, std::string_view message, LogFields fields) {
  if (level == LogLevel::Off || !impl_->is_on(level)) return;
  impl_->write(format_log_line(level, component, message, fields));
}
void Logger::raw_line(std::string_view line) {
  impl_->write_raw(line);
}

}  // namespace postern::runtime
