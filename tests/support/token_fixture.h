// Fresh tokens for tests: a SoftHSM token and an NSS software token, each in a folder of its own
// that is removed at the end.
//
//     tests::SoftHsmToken token;
//     auto opened = hsm::open_token(token.config(), token.pin(), log);
//
// Build the fixture before any token is opened: a process can have a module initialised once at a
// time. Declared before the opened token, it also outlives it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/secret_bytes.h"
#include "hsm/token_config.h"
#include "tests/support/temporary_directory.h"

namespace tests {

inline constexpr std::string_view softhsm_library = "/usr/lib/softhsm/libsofthsm2.so";
inline constexpr std::string_view softokn_library = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";

// What both have in common. The user PIN is different in each token.
class TokenFixture {
public:
    virtual ~TokenFixture() = default;
    // The token, opened in this process.
    virtual std::unique_ptr<hsm::Token> open(base::Log& log) const {
        return hsm::open_token(config_, pin_, log);
    }
    TokenFixture(const TokenFixture&) = delete;
    TokenFixture& operator=(const TokenFixture&) = delete;

    const hsm::TokenConfig& config() const { return config_; }
    const base::SecretBytes& pin() const { return pin_; }
    const std::filesystem::path& folder() const { return directory_.path(); }

protected:
    TokenFixture();

    TemporaryDirectory directory_;
    base::SecretBytes pin_;
    hsm::TokenConfig config_;
};

class SoftHsmToken : public TokenFixture {
public:
    static constexpr std::string_view so_pin = "87654321";

    explicit SoftHsmToken(const std::string& label = "strongroom");

    // One more token beside it, with the same PIN.
    void add_token(const std::string& label);
    // token.object of the first token.
    std::filesystem::path token_object() const;
};

class NssToken : public TokenFixture {
public:
    NssToken();
};

}  // namespace tests
