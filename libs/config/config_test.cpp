#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "config/exit_code.hpp"
#include "config/file.hpp"
#include "config/manual.hpp"
#include "config/parser.hpp"

namespace postern::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

std::string even(std::string_view value) {
  return value.size() % 2 == 0 ? "" : "is not even";
}

Command sample() {
  return {
      .name = "serve",
      .sentence = "Serves.",
      .options =
          {{.name = "config", .sentence = "The file.", .default_value = "/etc/x.toml"},
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
           {.name = "label", .sentence = "Labels.", .kind = ValueKind::Map, .environment = {"A_LABEL_*", "B_LABEL_*"}},
           {.name = "token", .sentence = "The token.", .environment = {"A_TOKEN"}, .check = even, .secret = true}},
      .arguments = {{.name = "THING", .sentence = "what", .presence = Presence::Optional}}};
}

std::expected<Settings, UsageError> parsed(std::vector<std::string> arguments, Variables environment = {},
                                           std::optional<std::string> file = std::nullopt) {
  return parse(sample(), {.arguments = std::move(arguments),
                          .environment = std::move(environment),
                          .read_file = [file](const std::string&) { return file; }});
}

std::string problem(std::vector<std::string> arguments, Variables environment = {},
                    std::optional<std::string> file = std::nullopt) {
  const auto result = parsed(std::move(arguments), std::move(environment), std::move(file));
  return result ? "" : result.error().message;
}

TEST(Parser, GivesDefaultsWhereNothingIsSaid) {
  const auto settings = parsed({});
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->text("listen-on"), "[::]:443");
  EXPECT_FALSE(settings->find("port"));
  EXPECT_FALSE(settings->enabled("fast"));
  EXPECT_FALSE(settings->is_set("level"));
}

TEST(Parser, SaysWhatIsWrongInOneLineWhateverWasTyped) {
  EXPECT_EQ(problem({"--level", "a\nb"}), "--level: \"a?b\" is not one of info, debug");
  EXPECT_EQ(problem({"x", "evil\r\n\x1b[2J"}).find_first_of("\r\n\x1b"), std::string::npos);
  EXPECT_EQ(problem({}, {}, "level = \"a\\nb\"\n"), "/etc/x.toml, line 1: level: \"a?b\" is not one of info, debug");
  const auto selected = select({"prog", "Does.", "1", {{.name = "run", .sentence = "Runs."}}}, {"r\nun"});
  ASSERT_FALSE(selected);
  EXPECT_THAT(selected.error().message, HasSubstr("\"r?un\""));
}

TEST(Parser, PrefersFlagsToEnvironmentToFileToDefault) {
  const std::string file = "port = 1\nlevel = \"debug\"\n";
  EXPECT_EQ(parsed({"--port", "3"}, {{"A_PORT", "2"}}, file)->integer("port"), 3);
  EXPECT_EQ(parsed({}, {{"A_PORT", "2"}}, file)->integer("port"), 2);
  EXPECT_EQ(parsed({}, {}, file)->integer("port"), 1);
  EXPECT_EQ(parsed({}, {}, file)->text("level"), "debug");
  EXPECT_EQ(parsed({}, {}, file)->source("level"), Source::File);
}

TEST(Parser, PrefersTheFirstSpellingOfAVariableAndSkipsEmptyOnes) {
  EXPECT_EQ(parsed({}, {{"A_PORT", "2"}, {"B_PORT", "4"}})->integer("port"), 2);
  EXPECT_EQ(parsed({}, {{"A_PORT", ""}, {"B_PORT", "4"}})->integer("port"), 4);
}

TEST(Parser, ReadsSwitchesListsAndMaps) {
  const auto settings = parsed({"--fast", "--alias", "a", "--alias=b", "--label", "x=1=2", "thing"},
                               {{"A_LABEL_HOST", "h"}, {"B_LABEL_HOST", "no"}, {"B_LABEL_SITE", "s"}});
  ASSERT_TRUE(settings);
  EXPECT_TRUE(settings->enabled("fast"));
  EXPECT_THAT(settings->list("alias"), ElementsAre("a", "b"));
  EXPECT_THAT(settings->map("label"), ElementsAre(Pair("x", "1=2")));
  EXPECT_THAT(settings->arguments(), ElementsAre("thing"));
  EXPECT_FALSE(parsed({"--no-fast"}, {{"A_FAST", "yes"}})->enabled("fast"));
  EXPECT_THAT(parsed({}, {{"A_ALIAS", "a, b,,c"}})->list("alias"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(parsed({}, {{"A_LABEL_HOST", "h"}, {"B_LABEL_HOST", "no"}, {"B_LABEL_SITE", "s"}})->map("label"),
              ElementsAre(Pair("host", "h"), Pair("site", "s")));
}

TEST(Parser, SaysWhatIsWrongAndWhere) {
  EXPECT_THAT(problem({"--port", "70000"}), HasSubstr("--port: \"70000\" is out of bounds, use 1 to 65535"));
  EXPECT_THAT(problem({"--port=x"}), HasSubstr("not a whole number"));
  EXPECT_THAT(problem({"--port"}), HasSubstr("needs a value"));
  EXPECT_THAT(problem({"--level", "loud"}), HasSubstr("not one of info, debug"));
  EXPECT_THAT(problem({"--nonsense"}), HasSubstr("unknown option --nonsense"));
  EXPECT_THAT(problem({"-x"}), HasSubstr("unknown option -x"));
  EXPECT_THAT(problem({"--label", "novalue"}), HasSubstr("KEY=VALUE"));
  EXPECT_THAT(problem({"a", "b"}), HasSubstr("one argument too many"));
  EXPECT_THAT(problem({}, {{"B_PORT", "0"}}), HasSubstr("B_PORT: "));
  EXPECT_THAT(problem({}, {{"A_FAST", "maybe"}}), HasSubstr("neither true nor false"));
  EXPECT_THAT(problem({}, {}, "port = 1\nwhat = 2\n"), HasSubstr("/etc/x.toml, line 2: what is not an option"));
  EXPECT_THAT(problem({}, {}, "port 1"), HasSubstr("line 1: expected key = value"));
}

TEST(Parser, NeverTakesOrShowsASecretOnTheCommandLine) {
  EXPECT_THAT(problem({"--token", "abc"}), HasSubstr("A_TOKEN"));
  EXPECT_THAT(problem({}, {{"A_TOKEN", "odd"}}), Not(HasSubstr("odd\"")));
  EXPECT_EQ(parsed({}, {{"A_TOKEN", "even"}})->text("token"), "even");
}

TEST(Parser, MissesAFileOnlyWhenItWasNamed) {
  EXPECT_EQ(problem({}), "");
  EXPECT_THAT(problem({"--config", "/nowhere"}), HasSubstr("/nowhere: there is no such file"));
}

TEST(Parser, AsksForRequiredOptionsAndArguments) {
  const Command command{.name = "x",
                        .sentence = "X.",
                        .options = {{.name = "state", .sentence = "Folder.", .value_name = "DIR", .required = true}},
                        .arguments = {{.name = "NAME", .sentence = "its name", .presence = Presence::Required}}};
  EXPECT_EQ(parse(command, {.arguments = {"n"}}).error().message, "--state DIR is missing: Folder.");
  EXPECT_EQ(parse(command, {.arguments = {"--state", "d"}}).error().message, "NAME is missing: its name");
  EXPECT_EQ(parse(command, {.arguments = {"--state", "d", "--", "--n"}})->arguments().front(), "--n");
}

TEST(File, ReadsTheSubsetOfTomlAndEnvironmentFiles) {
  const auto entries =
      parse_file("# c\na = \"x\\\"\\n\" # t\nb=[ 'p', \"q\", 3 ]\n[label]\nhost = true\nA_URL=https://h/#x?y\n");
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 4U);
  EXPECT_THAT((*entries)[0].values, ElementsAre("x\"\n"));
  EXPECT_THAT((*entries)[1].values, ElementsAre("p", "q", "3"));
  EXPECT_EQ((*entries)[2].table, "label");
  EXPECT_THAT((*entries)[3].values, ElementsAre("https://h/#x?y"));
}

TEST(File, RefusesWhatItDoesNotUnderstand) {
  for (const char* text :
       {"a = \"x", "a = b c", "a = [1, 2", "[x", "= 1", "a = \"\\q\"", "a b = 1", "a = [1 2]", "a ="}) {
    EXPECT_FALSE(parse_file(text)) << text;
  }
  EXPECT_FALSE(parse_file(std::string(2'000'000, ' ')));
}

TEST(Select, FindsTheLongestCommandAndKnowsHelpEverywhere) {
  const Program program{
      .name = "p", .sentence = "P.", .version = "1", .commands = {{.name = "user"}, {.name = "user add"}}};
  const auto run = select(program, {"user", "add", "--x"});
  ASSERT_TRUE(run);
  EXPECT_EQ(run->command->name, "user add");
  EXPECT_THAT(run->arguments, ElementsAre("--x"));
  EXPECT_EQ(select(program, {"--help"})->kind, Selection::Kind::Help);
  EXPECT_EQ(select(program, {"user", "add", "-h"})->kind, Selection::Kind::Help);
  EXPECT_EQ(select(program, {"--version"})->kind, Selection::Kind::Version);
  EXPECT_THAT(select(program, {"usr"}).error().message, HasSubstr("no command \"usr\""));
  EXPECT_THAT(select(program, {"user", "ad"})->command->name, "user");
  EXPECT_THAT(select(program, {}).error().message, HasSubstr("a command is missing"));
}

TEST(Select, LeavesHelpOfTheRestToTheRest) {
  const Program program{
      .name = "p",
      .sentence = "P.",
      .commands = {{.name = "admin", .options = {{.name = "socket", .sentence = "S."}}, .takes_rest = true}}};
  EXPECT_EQ(select(program, {"admin", "--socket", "x", "--help"})->kind, Selection::Kind::Help);
  EXPECT_EQ(select(program, {"admin", "--socket", "x", "user", "--help"})->kind, Selection::Kind::Run);
}

TEST(Help, ShowsEveryOptionOnceWithItsDetails) {
  const Program program{.name = "p", .sentence = "P.", .version = "1", .commands = {sample()}};
  const std::string page = help(program, program.commands.front());
  EXPECT_THAT(page, HasSubstr("Usage: p serve [OPTION]… [THING]"));
  EXPECT_THAT(page, HasSubstr("--port VALUE\n      The port. (1 to 65535; environment A_PORT, B_PORT)"));
  EXPECT_THAT(page, HasSubstr("token (not a flag: it is a secret)"));
  EXPECT_THAT(reference_page(program),
              HasSubstr("| `--level VALUE` | `level` | How much. (one of info, debug; default info) |"));
}

TEST(Manual, SaysWhatTheHelpTextSaysInMdoc) {
  const Program program{.name = "p", .sentence = "The program.", .version = "1", .commands = {sample()}};
  const std::string page = manual_page(program, {.section = 1, .date = "May 1, 2026"});
  EXPECT_THAT(page, HasSubstr(".Dd May 1, 2026\n.Dt P 1\n"));
  EXPECT_THAT(page, HasSubstr(".It Fl \"\\&\\-port\" Ar \"\\&VALUE\"\nThe port.\n"));
  EXPECT_THAT(page, HasSubstr("(one of info, debug; default info)"));
  EXPECT_THAT(page, HasSubstr(".It Va \"\\&token\"\n"));
  EXPECT_THAT(page, HasSubstr(".It Ev \"\\&A_PORT\"\nThe same as \\-\\-port VALUE.\n"));
  EXPECT_THAT(page, HasSubstr(".Sh EXIT STATUS\n"));
}

TEST(Manual, LetsNoTextBecomeAMacro) {
  const Program program{.name = "p",
                        .sentence = "P.",
                        .version = "1",
                        .commands = {{.sentence = ".Bl is \\no macro. \"Quoted\" and … too.",
                                      .options = {{.name = "x", .sentence = "'so. .Ed", .value_name = "A\"B"}}}}};
  const std::string page = manual_page(program, {.date = "May 1, 2026", .description = {".El", "naïve \xff"}});
  EXPECT_THAT(page, HasSubstr("\n\\&.El\n"));
  EXPECT_THAT(page, HasSubstr("na\\[u00EF]ve \\[uFFFD]"));
  EXPECT_THAT(page, HasSubstr("\n\\&\\(aqso.\n\\&.Ed\n"));
  EXPECT_THAT(page, HasSubstr("Ar \"\\&A\\(dqB\""));
}

TEST(ExitCodes, StandInOrderAndOnceEach) {
  for (std::size_t i = 0; i < kExitCodes.size(); ++i) EXPECT_EQ(to_status(kExitCodes[i].code), static_cast<int>(i));
  EXPECT_THAT(exit_code_page(), HasSubstr("| 3 | tokens revoked |"));
}

TEST(ExitCodes, AreDocumentedAsTheyAre) {
  std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "../../docs/exit-codes.md");
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_EQ(page.str(), exit_code_page()) << "docs/exit-codes.md is made from libs/config/exit_code.hpp";
}

}  // namespace
}  // namespace postern::config
