// EXPECT_ERROR(code, expression): the expression throws base::Error with that code.
#pragma once

#include <gtest/gtest.h>

#include "base/error.h"

#define EXPECT_ERROR(expected_code, ...)                                        \
    do {                                                                        \
        try {                                                                   \
            static_cast<void>(__VA_ARGS__);                                     \
            ADD_FAILURE() << "expected " #expected_code ", nothing was thrown"; \
        } catch (const base::Error& error) {                                    \
            EXPECT_EQ(base::to_string(error.code()),                            \
                      base::to_string(base::ErrorCode::expected_code))          \
                << error.what();                                                \
        }                                                                       \
    } while (false)

// The same, and the message for the caller contains `part`.
#define EXPECT_ERROR_SAYING(expected_code, part, ...)                                 \
    do {                                                                              \
        try {                                                                         \
            static_cast<void>(__VA_ARGS__);                                           \
            ADD_FAILURE() << "expected " #expected_code ", nothing was thrown";       \
        } catch (const base::Error& error) {                                          \
            EXPECT_EQ(base::to_string(error.code()),                                  \
                      base::to_string(base::ErrorCode::expected_code))                \
                << error.what();                                                      \
            EXPECT_NE(error.message().find(part), std::string::npos) << error.what(); \
        }                                                                             \
    } while (false)
