#include <algorithm>
#include <span>

#include "config/one_line.hpp"
#include "config/parser.hpp"

namespace postern::config {
namespace {

std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words;
  while (!name.empty()) {
    const std::size_t end = std::min(name.find(' '), name.size());
    words.emplace_back(name.substr(0, end));
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return words;
}

bool asks_for_help(const std::string& word) {
  return word == "--help" || word == "-h";
}

const Command* best_match(const Program& program, const std::vector<std::string>& arguments, std::size_t& length) {
  const Command* best = nullptr;
  for (const Command& command : program.commands) {
    const auto words = words_of(command.name);
    if (words.size() > arguments.size() || !std::ranges::equal(words, std::span(arguments).first(words.size())))
      continue;
    if (best != nullptr && words.size() <= length) continue;
    best = &command;
    length = words.size();
  }
  return best;
}

/// True when `word` is an option whose value is the next word.
bool takes_next_word(const Command& command, const std::string& word) {
  return word.starts_with("--") && std::ranges::any_of(command.options, [&](const Option& option) {
           return option.kind != ValueKind::Switch && std::string_view(word).substr(2) == option.name;
         });
}

/// True when help was asked for among the command's own words (not behind "--", nor in the rest that it hands on).
bool help_wanted(const Command& command, const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (asks_for_help(word)) return true;
    if (takes_next_word(command, word)) {
      ++i;
    } else if (word == "--" || (command.takes_rest && !word.starts_with('-'))) {
      return false;
    }
  }
  return false;
}

/// The verbs of a noun that exists ("user add, user list"), otherwise the nouns.
std::string known_commands(const Program& program, const std::string& first) {
  std::string verbs;
  std::vector<std::string> nouns;
  for (const Command& command : program.commands) {
    if (command.name.starts_with(first + ' ')) verbs += (verbs.empty() ? "" : ", ") + command.name;
    std::string noun = command.name.substr(0, command.name.find(' '));
    if (std::ranges::find(nouns, noun) == nouns.end()) nouns.push_back(std::move(noun));
  }
  if (!verbs.empty()) return verbs;
  std::string all;
  for (const std::string& noun : nouns) all += (all.empty() ? "" : ", ") + noun;
  return all + " (help tells more)";
}

/// What was given as a command: the noun, and the verb behind a noun that exists.
std::string given(const Program& program, const std::vector<std::string>& arguments) {
  const std::string& first = arguments.front();
  const bool noun = std::ranges::any_of(program.commands,
                                        [&](const Command& command) { return command.name.starts_with(first + ' '); });
  return noun && arguments.size() > 1 ? first + ' ' + arguments[1] : first;
}

}  // namespace

std::expected<Selection, UsageError> select(const Program& program, std::vector<std::string> arguments) {
  std::size_t length = 0;
  const Command* command = best_match(program, arguments, length);
  const bool nothing_more = command == nullptr || command->name.empty();
  if (nothing_more && !arguments.empty() && (arguments.front() == "--version" || arguments.front() == "version")) {
    return Selection{.kind = Selection::Kind::Version, .command = nullptr, .arguments = {}};
  }
  if (command == nullptr) {
    if (!arguments.empty() && (asks_for_help(arguments.back()) || arguments.front() == "help")) {
      return Selection{.kind = Selection::Kind::Help, .command = nullptr, .arguments = {}};
    }
    const std::string first = arguments.empty() ? std::string() : arguments.front();
    const std::string problem =
        arguments.empty() ? "a command is missing" : "there is no command \"" + given(program, arguments) + '"';
    return std::unexpected(UsageError{one_line(problem + "; use one of: " + known_commands(program, first))});
  }
  arguments.erase(arguments.begin(), arguments.begin() + static_cast<std::ptrdiff_t>(length));
  const auto kind = help_wanted(*command, arguments) ? Selection::Kind::Help : Selection::Kind::Run;
  return Selection{.kind = kind, .command = command, .arguments = std::move(arguments)};
}

}  // namespace postern::config
