// vaultd as a process, with a real kmsd on a real token behind it, for the tests of both.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/json.h"
#include "tests/vault/vault_house.h"

namespace tests {

class VaultdTest : public testing::Test {
protected:
    static constexpr const char* one = "/v1/owners/acme/credentials/instagram";

    static std::string content_of(const std::filesystem::path& path) {
        std::ifstream file(path, std::ios::binary);
        std::ostringstream text;
        text << file.rdbuf();
        return text.str();
    }

    static std::string content_of_folder(const std::filesystem::path& folder) {
        std::string all;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            if (entry.is_regular_file()) all += content_of(entry.path());
        }
        return all;
    }

    std::string secret_of(kms::Client& app, const char* path = one) {
        const auto answer = app.call("POST", std::string(path) + "/reveal", "");
        return std::string(base::to_json(*answer.find("secret")));
    }

    // With copies there; the application may do everything with all, and the operator rewrap.
    // `more`: members of its configuration.
    void start_with_directus(const std::string& url, const std::string& more = {}) {
        std::string policy = VaultHouse::policy_text();
        policy.replace(policy.find("credential:acme/*"), 17, "credential:*");
        policy.replace(policy.find(R"("observe")"), 9,
                       R"("observe", "start_rewrap_job", "describe_rewrap_job")");
        house_.kms().write("policy-vault.json", policy);
        const auto token = house_.kms() / "directus.token";
        house_.kms().write("directus.token", "directus-static-token-0123456789\n");
        std::filesystem::permissions(token, std::filesystem::perms(0600));
        give_to_daemon_user(token);
        std::string config = house_.config_text();
        config.insert(
            config.rfind('}'),
            R"(, "compat": {"shared_secret": {"directus": {)" + more +
                R"("collection": "profiles", "url": ")" + url +
                R"(", "ca": "pki/ca.crt", "token": {"file": "directus.token"}, "deadline_ms": 10000}}})");
        house_.kms().write("vaultd.json", config);
        house_.start();
    }

    const std::string profile =
        "/v1/owners/0b5a4e0c-5f0e-4a57-9f0b-3d3c1f0f6d11/credentials/platforms";
    VaultHouse house_;
};

}  // namespace tests
