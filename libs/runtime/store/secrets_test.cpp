#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "runtime/store/master_key.hpp"
#include "runtime/store/password.hpp"

namespace postern::runtime {
namespace {

namespace fs = std::filesystem;

TEST(Password, IsVerifiedAgainstItsHashAndNoOther) {
  SeededRandom random(1);
  const std::string encoded = hash_password("correct horse", random);
  EXPECT_TRUE(encoded.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
  EXPECT_TRUE(verify_password("correct horse", encoded));
  EXPECT_FALSE(verify_password("correct horsf", encoded));
  EXPECT_FALSE(verify_password("", encoded));
  EXPECT_NE(hash_password("correct horse", random), encoded) << "the salt is fresh";
  EXPECT_FALSE(needs_rehash(encoded));
}

TEST(Password, NothingMatchesAnAccountWithoutAPassword) {
  for (const char* encoded : {"", "x", "$argon2id$v=19$m=19456,t=2,p=1$", "$argon2i$v=19$m=19456,t=2,p=1$AAAA$AAAA",
                              "$argon2id$v=19$m=4194304,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA"}) {
    EXPECT_FALSE(verify_password("", encoded)) << encoded;
    EXPECT_FALSE(verify_password("password", encoded)) << encoded;
  }
  EXPECT_TRUE(needs_rehash("$argon2id$v=19$m=4096,t=1,p=1$AAAA$AAAA"));
}

TEST(Password, HasBounds) {
  EXPECT_TRUE(password_problem("12345678").empty());
  EXPECT_FALSE(password_problem("1234567").empty());
  EXPECT_FALSE(password_problem(std::string(1025, 'a')).empty());
  SeededRandom random(1);
  const std::string longest(1024, 'a');
  EXPECT_TRUE(verify_password(longest, hash_password(longest, random)));
}

struct MasterKeyTest : ::testing::Test {
  MasterKeyTest() {
    std::string pattern = (fs::temp_directory_path() / "postern-key-XXXXXX").string();
    folder = ::mkdtemp(pattern.data());
    file = folder / "master.key";
  }
  ~MasterKeyTest() override { fs::remove_all(folder); }
  void write(const std::string& text) {
    std::ofstream(file) << text;
    fs::permissions(file, fs::perms(0600));
  }

  SeededRandom random{1};
  fs::path folder;
  fs::path file;
};

TEST_F(MasterKeyTest, IsWrittenOnceForItsOwnerOnlyAndReadBack) {
  const auto key = create_master_key(file, random);
  ASSERT_TRUE(key);
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(load_master_key(file).value(), *key);
  EXPECT_EQ(create_master_key(file, random).error().kind, MasterKeyErrorKind::Exists);
  EXPECT_EQ(load_master_key(file).value(), *key);
}

TEST_F(MasterKeyTest, IsRefusedWhenOthersMayReadItOrItIsNoKey) {
  EXPECT_EQ(load_master_key(file).error().kind, MasterKeyErrorKind::NotFound);
  ASSERT_TRUE(create_master_key(file, random));
  for (const auto mode : {0640, 0604, 0660}) {
    fs::permissions(file, fs::perms(mode));
    EXPECT_EQ(load_master_key(file).error().kind, MasterKeyErrorKind::TooOpen) << std::oct << mode;
  }
  for (const std::string& bad :
       {std::string(), std::string(63, 'a'), std::string(64, 'g'), std::string(65, 'a'), std::string(5000, 'a')}) {
    write(bad);
    EXPECT_EQ(load_master_key(file).error().kind, MasterKeyErrorKind::Malformed) << bad.size();
  }
}

TEST_F(MasterKeyTest, ASecretOpensOnlyInItsPlaceAndUnderItsKey) {
  const auto key = create_master_key(file, random).value();
  const auto secret = seal_secret(key, model::NetworkId(1), "signing", as_bytes("private"), random);
  EXPECT_EQ(open_secret(key, model::NetworkId(1), secret).value(), to_bytes(as_bytes("private")));
  EXPECT_EQ(open_secret(key, model::NetworkId(2), secret).error().kind, MasterKeyErrorKind::WrongKey);
  auto moved = secret;
  moved.name = "relay";
  EXPECT_FALSE(open_secret(key, model::NetworkId(1), moved));
  auto other = key;
  other[0] ^= 1;
  EXPECT_FALSE(open_secret(other, model::NetworkId(1), secret));
  auto damaged = secret;
  damaged.sealed.back() ^= 1;
  EXPECT_FALSE(open_secret(key, model::NetworkId(1), damaged));
}

}  // namespace
}  // namespace postern::runtime
