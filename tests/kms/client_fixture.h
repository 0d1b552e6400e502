// The client against a server that answers by a script: what its tests share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kms/client/client.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"
#include "tests/support/tls_peer.h"

namespace tests {

inline constexpr std::string_view key_id = "0e4f9d3a-52a0-4b7c-9a43-0123456789ab";

// "AQID" is the base64 of 1, 2, 3.
inline std::string one_plaintext() {
    return http_answer(
        200, R"({"plaintext":"AQID","key_id":")" + std::string(key_id) + R"(","key_version":1})");
}

inline std::string one_data_key() {
    return http_answer(200, R"({"key_id":")" + std::string(key_id) +
                                R"(","key_version":7,"data_keys":[{"wrapped":"BAUG","plaintext":)"
                                R"("AQID"}]})");
}

inline kms::UnwrapItem some_item() { return {{4, 5, 6}, {{"owner", "acme"}}}; }

class ClientTest : public testing::Test {
protected:
    // Answers request n with replies[n], and with the last one from then on.
    TlsPeer& serve(const std::vector<PeerReply>& replies) {
        return serve_script([replies, n = std::make_shared<std::atomic<std::size_t>>(0)](
                                const std::string& /*request*/) {
            return replies[std::min(n->fetch_add(1), replies.size() - 1)];
        });
    }
    TlsPeer& serve_script(TlsPeer::Script script) {
        peer_.emplace(server_, pki_.ca(), std::move(script));
        return *peer_;
    }
    kms::ClientConfig config() {
        kms::ClientConfig config;
        config.url = peer_ ? peer_->url() : "https://127.0.0.1:1";
        config.ca = pki_.ca();
        config.certificate = client_.certificate;
        config.key = client_.key;
        return config;
    }

    TemporaryDirectory directory_;
    TestPki pki_{directory_ / "pki"};
    CertificateFiles server_ = pki_.server("server");
    CertificateFiles client_ = pki_.client("client", "spiffe://strongroom/app");
    std::optional<TlsPeer> peer_;
};

}  // namespace tests
