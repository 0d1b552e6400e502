#include "tests/support/kms_house.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace tests {
namespace {

constexpr std::string_view token_config = R"(directories.tokendir = {folder}/tokens
objectstore.backend = file
log.level = ERROR
slots.removable = false
)";

std::string replace_all(std::string text, std::string_view what, std::string_view by) {
    for (std::size_t at = text.find(what); at != std::string::npos;
         at = text.find(what, at + by.size())) {
        text.replace(at, what.size(), by);
    }
    return text;
}

// Makes the token with SoftHSM's own tool, as an operator would.
void make_token(const std::filesystem::path& config, std::string_view label, std::string_view pin) {
    DaemonOptions tool;
    tool.program = "/usr/bin/softhsm2-util";
    tool.arguments = {
        "--init-token",       "--free", "--label",       std::string(label), "--so-pin",
        "so-pin-of-the-test", "--pin",  std::string(pin)};
    tool.environment = {{"SOFTHSM2_CONF", config.string()}};
    Daemon process(tool);
    if (process.wait_exit() != 0) {
        throw std::runtime_error("softhsm2-util failed: " + process.output());
    }
}

// True when the user that daemons run as can start `program` where it is.
bool is_open_to_all(const std::filesystem::path& program) {
    for (auto path = program; path != path.root_path(); path = path.parent_path()) {
        const auto mode = std::filesystem::status(path).permissions();
        if ((mode & std::filesystem::perms::others_exec) == std::filesystem::perms::none) {
            return false;
        }
    }
    return true;
}

}  // namespace

KmsHouse::KmsHouse()
    : pki_(std::make_unique<TestPki>(directory_ / "pki")),
      operator_files(pki_->client("operator", "spiffe://strongroom/operator")),
      app_files(pki_->client("app", "spiffe://strongroom/app")),
      vaultd_files(pki_->client("vaultd-client", "spiffe://strongroom/vaultd")),
      stranger_files(pki_->client("stranger", "spiffe://strongroom/stranger")) {
    static_cast<void>(pki_->server("kmsd"));
    std::filesystem::create_directory(directory_ / "tokens");
    write("softhsm2.conf", replace_all(std::string(token_config), "{folder}", folder().string()));
    write("user.pin", std::string(user_pin) + "\n");
    write("policy-kms.json", policy_text());
    write("kmsd.json", config_text());
    give_to_daemon_user(folder());
    make_token(directory_ / "softhsm2.conf", "strongroom", user_pin);
}

std::string KmsHouse::policy_text() {
    return R"({ "version": 1,
  "roles": {
    "application": [
      {"id": "application-data-keys", "effect": "allow",
       "actions": ["create_data_key", "unwrap_data_key", "rewrap_data_key", "encrypt", "decrypt"],
       "resources": ["key:alias/credentials"]}
    ],
    "signer": [
      {"id": "signer", "effect": "allow", "actions": ["sign", "get_public_key"],
       "resources": ["key:alias/vault-audit"]}
    ],
    "vault": [
      {"id": "vault-data-keys", "effect": "allow",
       "actions": ["create_data_key", "unwrap_data_key", "rewrap_data_key", "describe_key"],
       "resources": ["key:alias/credentials"]}
    ],
    "operator": [
      {"id": "operator-keys", "effect": "allow",
       "actions": ["create_key", "rotate_key", "enable_key", "disable_key", "change_alias", "tag_key", "list_keys", "describe_key", "observe"], "resources": ["*"]}
    ]
  },
  "bindings": [
    {"caller": "spiffe://strongroom/app", "roles": ["application"]},
    {"caller": "spiffe://strongroom/vaultd", "roles": ["vault", "signer"]},
    {"caller": "spiffe://strongroom/operator", "roles": ["operator"]}
  ] })";
}

std::string KmsHouse::config_text() const {
    return R"({ "listen": {"address": "127.0.0.1", "port": 0},
  "tls": {"certificate": "pki/kmsd.crt", "key": "pki/kmsd.key", "client_ca": "pki/ca.crt"},
  "token": {"module": "/usr/lib/softhsm/libsofthsm2.so", "uri": "pkcs11:token=strongroom",
            "pin": {"file": "user.pin"}, "softhsm_config": "softhsm2.conf", "deadline_ms": 20000},
  "store": {"sqlite": "kms.db"},
  "audit": {"directory": "audit-kms"},
  "policy": {"file": "policy-kms.json"},
  "log": {"level": "info"} })";
}

std::filesystem::path KmsHouse::write(std::string_view name, std::string_view content,
                                      unsigned mode) const {
    auto file = directory_.write(name, content, mode);
    give_to_daemon_user(file);
    return file;
}

std::filesystem::path KmsHouse::program(std::string_view name,
                                        std::initializer_list<std::string_view> beside) const {
    auto built = built_program(name);
    if (is_open_to_all(built)) return built;
    const auto copies = directory_ / "bin";
    std::filesystem::create_directory(copies);
    const auto copy = [&copies](std::string_view one) {
        std::filesystem::copy_file(built_program(one), copies / one,
                                   std::filesystem::copy_options::skip_existing);
    };
    copy(name);
    std::for_each(beside.begin(), beside.end(), copy);
    return copies / name;
}

DaemonOptions KmsHouse::options() const {
    DaemonOptions options;
    options.program = program("kmsd", {"strongroom-key-readback", "strongroom-token-worker"});
    options.arguments = {"--config", (directory_ / "kmsd.json").string()};
    return options;
}

std::unique_ptr<Daemon> KmsHouse::start() const {
    const DaemonOptions how = options();
    give_to_daemon_user(folder());
    // The callers' keys stay the test's: a client refuses a key that belongs to somebody else.
    for (const auto* caller : {&operator_files, &app_files, &vaultd_files, &stranger_files}) {
        if (::lchown(caller->key.c_str(), ::geteuid(), ::getegid()) != 0) {
            throw std::runtime_error("can't chown " + caller->key.string());
        }
    }
    return std::make_unique<Daemon>(how);
}

}  // namespace tests
