#include "base/error.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

TEST(Error, EveryCodeHasAWordOfItsOwn) {
    std::set<std::string> words;
    for (int code = 0; code <= static_cast<int>(base::ErrorCode::header_fields_too_large); ++code) {
        words.emplace(base::to_string(static_cast<base::ErrorCode>(code)));
    }
    EXPECT_EQ(words.size(), static_cast<std::size_t>(base::ErrorCode::header_fields_too_large) + 1);
    EXPECT_EQ(words.count(""), 0U);
}

TEST(Error, DetailIsForLogsAndNotPartOfTheMessage) {
    const base::Error error(base::ErrorCode::unavailable, "the token does not answer",
                            "CKR_DEVICE_ERROR");
    EXPECT_EQ(error.message(), "the token does not answer");
    EXPECT_EQ(std::string(error.what()), "the token does not answer (CKR_DEVICE_ERROR)");
}

TEST(Error, AllDecryptionFailuresShareOneMessage) {
    EXPECT_EQ(base::decryption_failed("bad tag").message(),
              base::decryption_failed("too short").message());
    EXPECT_EQ(base::decryption_failed().code(), base::ErrorCode::integrity_failure);
}
