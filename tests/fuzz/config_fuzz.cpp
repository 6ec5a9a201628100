// Configuration as people write it: file, environment and flags of a command with every kind of option; and the texts
// inside values: names, patterns, prefixes, ports, addresses.
//
// Holds: a setting that was accepted is within its bounds and choices; the flag wins over the environment, that over
// the file; an error is one line, is never empty, and never has the secret's value in it; texts that parse are written
// to a text that parses to the same value.
#include "config/file.hpp"
#include "config/parser.hpp"
#include "fuzz.hpp"
#include "model/resource.hpp"

namespace {

using namespace postern;
using namespace postern::config;

/// Not in any other text here, so that finding it means that it leaked.
constexpr std::string_view kSecret = "s3cr3t#value";

Command command() {
  return {.name = "serve",
          .sentence = "Serves.",
          .options = {{.name = "config", .sentence = "The file.", .default_value = "/etc/x.toml"},
                      {.name = "listen-on", .sentence = "Where.", .default_value = "[::]:443"},
                      {.name = "port",
                       .sentence = "The port.",
                       .kind = ValueKind::Integer,
                       .environment = {"A_PORT", "B_PORT"},
                       .minimum = 1,
                       .maximum = 65535},
                      {.name = "fast", .sentence = "Hurries.", .kind = ValueKind::Switch, .environment = {"A_FAST"}},
                      {.name = "level",
                       .sentence = "How much.",
                       .kind = ValueKind::Choice,
                       .default_value = "info",
                       .choices = {"info", "debug"}},
                      {.name = "alias", .sentence = "Names.", .kind = ValueKind::List, .environment = {"A_ALIAS"}},
                      {.name = "label", .sentence = "Labels.", .kind = ValueKind::Map, .environment = {"A_LABEL_*"}},
                      {.name = "token",
                       .sentence = "The token.",
                       .environment = {"A_TOKEN"},
                       .check = [](std::string_view) -> std::string { return "is wrong"; },
                       .secret = true}},
          .arguments = {{.name = "THING", .sentence = "what", .presence = Presence::Optional}}};
}

void check_message(const std::string& message) {
  FUZZ_CHECK(!message.empty());
  FUZZ_CHECK(message.find('\n') == std::string::npos);
  FUZZ_CHECK(message.find(kSecret) == std::string::npos);
}

/// Lines: "!" an argument, "$" a variable, "%" and "&" the secret where it belongs, all else lines of the file.
void check_settings(std::string_view text) {
  Inputs inputs;
  std::string file;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with('!')) {
      inputs.arguments.emplace_back(line.substr(1));
    } else if (line.starts_with('$')) {
      const std::size_t equals = std::min(line.find('='), line.size() - 1);
      inputs.environment.emplace(line.substr(1, equals == 0 ? 0 : equals - 1), line.substr(equals + 1));
    } else if (line.starts_with('%')) {
      inputs.environment.emplace("A_TOKEN", kSecret);
    } else if (line.starts_with('&')) {
      file += "token = \"" + std::string(kSecret) + "\"\n";
    } else {
      file += std::string(line) + "\n";
    }
  }
  if (const auto entries = parse_file(file); !entries) check_message(entries.error());
  inputs.read_file = [file](const std::string&) { return std::optional<std::string>(file); };
  const auto settings = parse(command(), inputs);
  if (!settings) return check_message(settings.error().message);
  if (settings->find("port")) FUZZ_CHECK(settings->integer("port") >= 1 && settings->integer("port") <= 65535);
  FUZZ_CHECK(settings->text("level") == "info" || settings->text("level") == "debug");
  FUZZ_CHECK(!settings->find("token") || settings->text("token").empty());
  FUZZ_CHECK(settings->arguments().size() <= 1);
  (void)settings->enabled("fast");
  (void)settings->list("alias");
  (void)settings->map("label");
  // An own flag is stronger than everything else.
  inputs.arguments.insert(inputs.arguments.begin(), {"--level", "debug"});
  const auto again = parse(command(), inputs);
  if (again && settings->source("level") != Source::Flag) FUZZ_CHECK(again->text("level") == "debug");
}

void check_selection(std::string_view text) {
  Program program{"prog", "Does.", "1", {command()}};
  program.commands.push_back({.name = "user add", .sentence = "Adds."});
  program.commands.push_back({.name = "user", .sentence = "Shows."});
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c == ' ') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  const auto selection = select(program, std::move(words));
  if (!selection) check_message(selection.error().message);
}

void check_texts(std::string_view text) {
  if (const auto name = model::DnsName::parse(text)) {
    FUZZ_CHECK(model::DnsName::parse(name->text()) == name && name->text().size() <= 253);
  }
  if (const auto pattern = model::DnsPattern::parse(text)) {
    FUZZ_CHECK(model::DnsPattern::parse(pattern->text()) == pattern);
    if (const auto name = model::DnsName::parse("a.b.corp.int")) (void)pattern->matches(*name);
    FUZZ_CHECK(pattern->literal_characters() <= pattern->text().size());
  }
  if (const auto address = model::ResourceAddress::parse(text)) {
    const auto again = model::ResourceAddress::parse(address->text());
    FUZZ_CHECK(again && *again == *address && !address->more_specific_than(*again));
  }
  if (const auto rule = model::ProtocolRule::parse(text)) {
    FUZZ_CHECK(model::ProtocolRule::parse(rule->text()) == rule);
    for (std::size_t i = 0; i < rule->ports.size(); ++i) {
      FUZZ_CHECK(rule->ports[i].first >= 1 && rule->ports[i].first <= rule->ports[i].last);
      FUZZ_CHECK(i == 0 || rule->ports[i - 1].last < rule->ports[i].first);
    }
  }
  if (const auto address = IpAddress::parse(text)) FUZZ_CHECK(IpAddress::parse(address->to_string()) == address);
  if (const auto prefix = IpPrefix::parse(text)) FUZZ_CHECK(IpPrefix::parse(prefix->to_string()) == prefix);
  if (const auto address = SocketAddress::parse(text))
    FUZZ_CHECK(SocketAddress::parse(address->to_string()) == address);
  if (const auto bytes = from_hex(text)) FUZZ_CHECK(bytes->size() * 2 == text.size());
  if (const auto bytes = from_base64url(text)) FUZZ_CHECK(to_base64url(*bytes) == text);
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const auto with = [](char kind, std::string_view text) {
    return text_seed(std::string(1, kind) + std::string(text));
  };
  return {
      with('0', "# comment\nport = 12\nlevel = \"debug\"\nalias = [\"a\", 'b']\n[label]\nplace = \"attic\\n\"\n"),
      with('0', "!--port\n!3\n!--alias=a\n!--label\n!k=v\n!thing\n$A_PORT=9\n$A_FAST=yes\n$A_LABEL_X=1\nA_ALIAS=a,b\n"),
      with('0', "%\n"),
      with('0', "&\n"),
      with('0', "!--token=x\n"),
      with('0', "!--no-fast\n!--level=info\nfast = true\nlisten_on = \"127.0.0.1:1\"\n"),
      with('1', "user add --help"),
      with('1', "serve --port 3"),
      with('2', "*.corp.int"),
      with('2', "192.168.1.0/24"),
      with('2', "80,443, 8000-9000"),
      with('2', "[2001:db8::1]:443"),
      with('2', "Nginx.Home.lan.")};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = as_text({data + 1, size - 1});
  if (text.find(kSecret) != std::string_view::npos) return 0;  // the secret stands where '%' and '&' put it
  switch (data[0] % 3) {
    case 0:
      check_settings(text);
      break;
    case 1:
      check_selection(text);
      break;
    default:
      check_texts(text);
  }
  return 0;
}
