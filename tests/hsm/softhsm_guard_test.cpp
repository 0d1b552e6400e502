// SoftHSM's token survives what SoftHSM does to it, or the start says how to get it back.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/file.h"
#include "hsm/softhsm_guard.h"
#include "hsm/softhsm_object_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using hsm::KeyId;
using hsm::KeyProfile;

class SoftHsmGuard : public testing::Test {
protected:
    SoftHsmGuard()
        : object_(token_.token_object()), copy_(object_.parent_path() / "token.object.copy") {}

    std::unique_ptr<hsm::Token> open() {
        return hsm::open_token(token_.config(), token_.pin(), log_);
    }
    void overwrite(std::string_view content) {
        std::filesystem::remove(object_);
        std::ofstream(object_, std::ios::binary) << content;
    }
    std::string message_of_refusal() {
        try {
            open();
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::failed_precondition);
            return error.message();
        }
        ADD_FAILURE() << "the token was opened";
        return {};
    }
    static std::string content(const std::filesystem::path& file) {
        return base::read_file(file, 65536);
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    SoftHsmToken token_;
    std::filesystem::path object_;
    std::filesystem::path copy_;
};

TEST_F(SoftHsmGuard, TheTokenFileIsReadOnlyAndHasACopy) {
    open();
    struct stat status {};
    ASSERT_EQ(::stat(object_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0400U);
    ASSERT_EQ(::stat(copy_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0400U);
    EXPECT_EQ(content(copy_), content(object_));
}

// What SoftHSM counts when it makes or destroys an object.
class SoftHsmGuardChanges : public SoftHsmGuard {
protected:
    SoftHsmGuardChanges()
        : guard_(
              token_.config(), [](auto, auto) { return true; }, log_) {
        open();  // makes the copy, and the count if there is none
        const auto read = hsm::parse_softhsm_token_object(base::as_bytes(content(object_)));
        guard_.before_login(read->label, read->serial);
        write_count(5);
        guard_.note_objects();
    }
    void write_count(std::uint8_t count) const {
        std::ofstream(object_.parent_path() / "generation", std::ios::binary)
            << std::string(7, '\0') << static_cast<char>(count);
    }
    hsm::SoftHsmGuard guard_;
};

TEST_F(SoftHsmGuardChanges, OursAreCountedAndThoseOfOthersAreSeen) {
    write_count(7);
    guard_.note_changes(2);
    EXPECT_FALSE(guard_.were_objects_changed());
    write_count(8);
    EXPECT_TRUE(guard_.were_objects_changed());
    guard_.note_objects();
    EXPECT_FALSE(guard_.were_objects_changed());
}

TEST_F(SoftHsmGuardChanges, AChangeOfOursThatAnotherProcessLostIsSeen) {
    write_count(6);  // the second was written back over
    guard_.note_changes(2);
    EXPECT_TRUE(guard_.were_objects_changed());
    guard_.note_objects();
    EXPECT_FALSE(guard_.were_objects_changed());
}

TEST_F(SoftHsmGuardChanges, WhenNobodyCanSayHowManyThereWereTheModuleIsDoubted) {
    guard_.note_changes({});
    EXPECT_TRUE(guard_.were_objects_changed());
}

TEST_F(SoftHsmGuardChanges, ATokenThatCountsNothingIsNotDoubted) {
    std::filesystem::remove(object_.parent_path() / "generation");
    guard_.note_objects();
    guard_.note_changes(1);
    EXPECT_FALSE(guard_.were_objects_changed());
}

// The count is understood as SoftHSM writes it.
TEST_F(SoftHsmGuard, MakingAndDestroyingLeavesTheModuleUndoubted) {
    const auto count = [&] { return content(object_.parent_path() / "generation"); };
    auto token = open();
    const auto last = [&] { return static_cast<std::uint8_t>(count().back()); };
    const KeyId key = KeyId::random();
    const KeyId pair = KeyId::random();
    const auto before = last();
    token->generate_aes_key(key, "", KeyProfile::sealed);
    EXPECT_EQ(last(), static_cast<std::uint8_t>(before + 1));
    token->generate_key(pair, "", hsm::KeyKind::ecdsa_p256, KeyProfile::sealed);
    EXPECT_EQ(last(), static_cast<std::uint8_t>(before + 3));
    token->destroy_key(pair);
    EXPECT_EQ(last(), static_cast<std::uint8_t>(before + 5));
}

TEST_F(SoftHsmGuard, TheCopyIsNoTokenOfItsOwn) {
    open();
    auto token = open();
    EXPECT_TRUE(token->list_keys().empty());
    std::size_t unnamed = 0;
    token->list_keys(&unnamed);
    EXPECT_EQ(unnamed, 0U);
}

TEST_F(SoftHsmGuard, EveryLossOfTheTokenFileIsNamedWithTheCommandThatRestoresIt) {
    KeyId key = KeyId::random();
    {
        auto token = open();
        token->generate_aes_key(key, "", KeyProfile::sealed);
    }
    const std::string whole = content(copy_);
    std::string another = whole;
    another.replace(another.find("strongroom"), 6, "foreig");
    for (const std::string& damaged : {std::string(), whole.substr(0, 8), whole.substr(0, 100),
                                       whole.substr(0, 200), whole.substr(0, whole.size() - 1),
                                       whole + "x", std::string(whole.size(), '\0'), another}) {
        overwrite(damaged);
        const std::string message = message_of_refusal();
        EXPECT_NE(message.find(object_.string()), std::string::npos) << message;
        const std::string command = "cp -pf '" + copy_.string() + "' '" + object_.string() + "'";
        EXPECT_NE(message.find(command), std::string::npos) << message;
        EXPECT_EQ(content(object_), damaged) << "nothing is restored by itself";
    }
    std::filesystem::remove(object_);
    const std::string message = message_of_refusal();
    EXPECT_NE(message.find("missing"), std::string::npos) << message;

    const auto start = message.find("cp -pf");
    const std::string command = message.substr(start, message.find('\n', start) - start);
    ASSERT_EQ(std::system(command.c_str()), 0);
    EXPECT_TRUE(open()->find_key(key).has_value());
}

TEST_F(SoftHsmGuard, ADamagedPinBlobIsSuspectedWhenThePinIsRefused) {
    open();
    std::string damaged = content(object_);
    damaged.back() = static_cast<char>(damaged.back() ^ 1);
    overwrite(damaged);
    const std::string message = message_of_refusal();
    EXPECT_NE(message.find("refused the user PIN"), std::string::npos) << message;
    EXPECT_NE(message.find("cp -pf"), std::string::npos) << message;
}

TEST_F(SoftHsmGuard, ALossBeforeTheFirstCopyIsNamedToo) {
    overwrite("");
    const std::string message = message_of_refusal();
    EXPECT_NE(message.find(object_.string()), std::string::npos) << message;
    EXPECT_NE(message.find("no copy"), std::string::npos) << message;
}

TEST_F(SoftHsmGuard, AConfigurationWithoutATokenFolderIsRefused) {
    auto config = token_.config();
    for (const std::string text :
         {"log.level = ERROR\n", "directories.tokendir = /nowhere/at/all\n"}) {
        std::ofstream(config.softhsm_config) << text;
        EXPECT_ERROR(failed_precondition, hsm::open_token(config, token_.pin(), log_));
    }
    config.softhsm_config = "/nowhere/softhsm2.conf";
    EXPECT_ERROR(failed_precondition, hsm::open_token(config, token_.pin(), log_));
}

TEST(SoftHsmObjectFile, EveryTruncationIsSeen) {
    const SoftHsmToken token;
    const std::string whole = base::read_file(token.token_object(), 65536);
    const auto read = hsm::parse_softhsm_token_object(base::as_bytes(whole));
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->label, "strongroom");
    for (std::size_t size = 0; size < whole.size(); ++size) {
        EXPECT_FALSE(hsm::parse_softhsm_token_object(base::as_bytes(whole).first(size)).has_value())
            << size;
    }
}

}  // namespace
}  // namespace tests
