// A whole key service for a test: a SoftHSM token, certificates, a policy and a configuration in a
// directory of its own, and kmsd to start on them as often as wanted.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "tests/support/daemon.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_pki.h"

namespace tests {

// The callers have the ids spiffe://strongroom/operator, /app, /vaultd and /stranger. By the policy
// (written from policy_text()) the operator makes, rotates, disables, lists and describes keys and
// observes; app and vaultd make and unwrap data keys under alias/credentials; the stranger has no
// right at all.
class KmsHouse {
public:
    KmsHouse();

    const std::filesystem::path& folder() const { return directory_.path(); }
    std::filesystem::path operator/(std::string_view name) const { return directory_ / name; }
    TestPki& pki() { return *pki_; }

    static std::string policy_text();
    static constexpr std::string_view user_pin = "user-pin-of-the-test";

    // kmsd.json as start() uses it: port 0, every file in folder(). A test may write another.
    std::string config_text() const;
    // Writes a file that the daemon's user owns.
    std::filesystem::path write(std::string_view name, std::string_view content,
                                unsigned mode = 0600) const;

    // Starts kmsd with kmsd.json and gives everything in folder() to its user first.
    std::unique_ptr<Daemon> start() const;
    // How start() does it, to change something.
    DaemonOptions options() const;

    // A built program where the daemons' user can start it, with those that it looks for beside
    // it: a checkout may lie in a folder that is closed to others.
    std::filesystem::path program(std::string_view name,
                                  std::initializer_list<std::string_view> beside = {}) const;

private:
    TemporaryDirectory directory_;
    std::unique_ptr<TestPki> pki_;

public:
    const CertificateFiles operator_files, app_files, vaultd_files, stranger_files;
};

}  // namespace tests
