// Both daemons as processes for a test: a key service on a real token with the master key
// alias/credentials, and a vault that seals under it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "kms/client/client.h"
#include "tests/support/daemon.h"
#include "tests/support/kms_house.h"

namespace tests {

// By the vault's policy spiffe://strongroom/app may do everything with the credentials of acme, and
// the operator may observe.
class VaultHouse {
public:
    VaultHouse() {
        static_cast<void>(kms_.pki().server("vaultd"));
        kms_.write("policy-vault.json", policy_text());
        kmsd_ = kms_.start();
        kmsd_port_ = kmsd_->wait_ready();
        kms_.write("vaultd.json", config_text());
        // Made after the start, so that they belong to who runs the test.
        operator_files = kms_.pki().client("test-operator", "spiffe://strongroom/operator");
        app_files = kms_.pki().client("test-app", "spiffe://strongroom/app");
        vault_files = kms_.pki().client("test-vaultd", "spiffe://strongroom/vaultd");
        stranger_files = kms_.pki().client("test-stranger", "spiffe://strongroom/stranger");
        kms::Client(client_config(operator_files, kmsd_port_))
            .call("POST", "/v1/keys", R"({"alias":"credentials"})");
    }

    // Starts vaultd, anew when it was killed or stopped, and waits until it is ready.
    Daemon& start() {
        for (const auto* file :
             {"vaultd.crt", "vaultd.key", "vaultd-client.crt", "vaultd-client.key"}) {
            give_to_daemon_user(kms_ / "pki" / file);
        }
        vaultd_ = std::make_unique<Daemon>(options());
        port_ = vaultd_->wait_ready();
        return *vaultd_;
    }
    DaemonOptions options() const {
        DaemonOptions how;
        how.program = kms_.program("vaultd");
        how.arguments = {"--config", (kms_ / "vaultd.json").string()};
        return how;
    }

    kms::ClientConfig client_config(const CertificateFiles& who, std::uint16_t port) {
        kms::ClientConfig config;
        config.url = "https://127.0.0.1:" + std::to_string(port);
        config.ca = kms_.pki().ca();
        config.certificate = who.certificate;
        config.key = who.key;
        return config;
    }
    kms::ClientConfig to_vaultd(const CertificateFiles& who) { return client_config(who, port_); }
    kms::ClientConfig to_kmsd(const CertificateFiles& who) {
        return client_config(who, kmsd_port_);
    }

    KmsHouse& kms() { return kms_; }
    Daemon& kmsd() { return *kmsd_; }
    Daemon& vaultd() { return *vaultd_; }
    std::uint16_t port() const { return port_; }

    std::string config_text() const {
        return R"({ "listen": {"address": "127.0.0.1", "port": 0},
  "tls": {"certificate": "pki/vaultd.crt", "key": "pki/vaultd.key", "client_ca": "pki/ca.crt"},
  "store": {"sqlite": "vault.db"},
  "audit": {"directory": "audit-vault"},
  "policy": {"file": "policy-vault.json"},
  "kms": {"url": "https://127.0.0.1:)" +
               std::to_string(kmsd_port_) +
               R"(", "ca": "pki/ca.crt", "certificate": "pki/vaultd-client.crt",
          "key": "pki/vaultd-client.key", "master_key": "alias/credentials", "deadline_ms": 2000} })";
    }
    static std::string policy_text() {
        return R"({ "version": 1,
  "roles": {
    "application": [{"id": "acme", "effect": "allow", "actions": ["*"], "resources": ["credential:acme/*"]}],
    "operator": [{"id": "operator", "effect": "allow", "actions": ["observe"], "resources": ["*"]}]
  },
  "bindings": [
    {"caller": "spiffe://strongroom/app", "roles": ["application"]},
    {"caller": "spiffe://strongroom/operator", "roles": ["operator"]}
  ] })";
    }

private:
    KmsHouse kms_;
    std::unique_ptr<Daemon> kmsd_, vaultd_;
    std::uint16_t kmsd_port_ = 0, port_ = 0;

public:
    CertificateFiles operator_files, app_files, vault_files, stranger_files;
};

}  // namespace tests
