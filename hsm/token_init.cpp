// strongroom-token-init: makes a new token in a module that has a free slot (SoftHSM), PINs from
// files. For development and tests; a real HSM's token is made with its vendor's tools in a
// ceremony. Prints the token's PKCS#11 URI. It never touches a token that exists.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "hsm/pkcs11_error.h"
#include "hsm/pkcs11_module.h"

namespace {

using base::Error;
using base::ErrorCode;
using base::SecretBytes;

struct Arguments {
    std::filesystem::path module, softhsm_config, so_pin_file, pin_file;
    std::string label;
};

CK_TOKEN_INFO token_info(const hsm::Module& module, CK_SLOT_ID slot) {
    CK_TOKEN_INFO info{};
    hsm::check_call(module->C_GetTokenInfo(slot, &info), "C_GetTokenInfo");
    return info;
}

bool initialised(const CK_TOKEN_INFO& info) { return (info.flags & CKF_TOKEN_INITIALIZED) != 0; }

// The slot of the initialised token that is named `label`, or of none.
std::optional<CK_SLOT_ID> find_token(const hsm::Module& module, std::string_view label) {
    for (const auto slot : slots_with_tokens(module)) {
        const auto info = token_info(module, slot);
        if (initialised(info) && hsm::trim_padding(info.label) == label) return slot;
    }
    return std::nullopt;
}

CK_SLOT_ID free_slot(const hsm::Module& module) {
    for (const auto slot : slots_with_tokens(module)) {
        if (!initialised(token_info(module, slot))) return slot;
    }
    throw Error(ErrorCode::failed_precondition,
                "the module has no slot with a token that is not initialised yet; for SoftHSM, "
                "check that the folder "
                "'directories.tokendir' of its configuration exists and can be written");
}

// Logged in as security officer for as long as it lives.
class OfficerSession {
public:
    OfficerSession(const hsm::Module& module, CK_SLOT_ID slot, base::ByteView so_pin)
        : module_(module) {
        hsm::check_call(module_->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr,
                                               nullptr, &handle_),
                        "C_OpenSession");
        const CK_RV code = module_->C_Login(handle_, CKU_SO, hsm::to_ck_bytes(so_pin),
                                            hsm::to_ck_ulong(so_pin.size()));
        if (code == CKR_OK) return;
        module_->C_CloseSession(handle_);
        throw hsm::to_error(code, "C_Login");
    }
    ~OfficerSession() {
        module_->C_Logout(handle_);
        module_->C_CloseSession(handle_);
    }
    OfficerSession(const OfficerSession&) = delete;
    OfficerSession& operator=(const OfficerSession&) = delete;

    void set_user_pin(base::ByteView pin) {
        hsm::check_call(
            module_->C_InitPIN(handle_, hsm::to_ck_bytes(pin), hsm::to_ck_ulong(pin.size())),
            "C_InitPIN");
    }

private:
    const hsm::Module& module_;
    CK_SESSION_HANDLE handle_ = CK_INVALID_HANDLE;
};

void init_token(const hsm::Module& module, const Arguments& arguments) {
    const SecretBytes so_pin = base::read_secret_file(arguments.so_pin_file);
    const SecretBytes user_pin = base::read_secret_file(arguments.pin_file);
    if (find_token(module, arguments.label)) {
        throw Error(ErrorCode::already_exists, "a token with the label '" + arguments.label +
                                                   "' is there already and is left as it is");
    }
    std::array<CK_UTF8CHAR, sizeof(CK_TOKEN_INFO::label)> label{};
    label.fill(' ');  // PKCS#11 2.40, 5.5 (C_InitToken): padded with blanks, not terminated
    std::copy(arguments.label.begin(), arguments.label.end(), label.begin());
    hsm::check_call(module->C_InitToken(free_slot(module), hsm::to_ck_bytes(so_pin.expose()),
                                        hsm::to_ck_ulong(so_pin.size()), label.data()),
                    "C_InitToken");
    // SoftHSM moves a new token to another slot.
    const auto slot = find_token(module, arguments.label);
    if (!slot)
        throw Error(ErrorCode::internal,
                    "the module does not show the token that it has just made");
    OfficerSession(module, *slot, so_pin.expose()).set_user_pin(user_pin.expose());
    std::cout << "pkcs11:token=" << arguments.label
              << ";serial=" << hsm::trim_padding(token_info(module, *slot).serialNumber) << '\n';
}

constexpr std::string_view usage =
    "usage: strongroom-token-init --module FILE --label NAME --so-pin-file FILE --pin-file FILE\n"
    "                             [--softhsm-config FILE]\n"
    "Makes a new token, with PINs from files of mode 0600, and prints its PKCS#11 URI.\n";

// The label goes into a URI unescaped and into 32 bytes.
void check_label(std::string_view label) {
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
    };
    if (label.size() > sizeof(CK_TOKEN_INFO::label) ||
        !std::all_of(label.begin(), label.end(), plain)) {
        throw Error(ErrorCode::invalid_argument,
                    "--label must be 1 to 32 letters, digits, '-' or '_'");
    }
}

// Every option has a value and is given once.
Arguments read_arguments(const std::vector<std::string>& words) {
    std::map<std::string, std::string> values = {{"--module", ""},
                                                 {"--label", ""},
                                                 {"--so-pin-file", ""},
                                                 {"--pin-file", ""},
                                                 {"--softhsm-config", ""}};
    for (std::size_t i = 0; i < words.size(); i += 2) {
        const auto option = values.find(words[i]);
        if (option == values.end() || i + 1 == words.size() || !option->second.empty()) {
            throw Error(ErrorCode::invalid_argument, "'" + words[i] +
                                                         "' is no option of this program, lacks "
                                                         "its value or stands twice; see --help");
        }
        option->second = words[i + 1];
    }
    for (const auto& [name, value] : values) {
        if (value.empty() && name != "--softhsm-config") {
            throw Error(ErrorCode::invalid_argument, name + " is missing; see --help");
        }
    }
    check_label(values["--label"]);
    return {values["--module"], values["--softhsm-config"], values["--so-pin-file"],
            values["--pin-file"], values["--label"]};
}

void run(const std::vector<std::string>& words) {
    if (words.size() == 1 && words.front() == "--help") {
        std::cout << usage;
        return;
    }
    const Arguments arguments = read_arguments(words);
    if (!arguments.softhsm_config.empty()) {
        // Before any thread starts; SoftHSM reads no other setting of where its tokens are.
        ::setenv("SOFTHSM2_CONF",
                 arguments.softhsm_config.c_str(),  // NOLINT(concurrency-mt-unsafe)
                 1);
    }
    init_token(*hsm::Module::load(arguments.module, {}), arguments);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        run({argv + 1, argv + argc});
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "strongroom-token-init: " << error.what() << '\n';
        return 1;
    }
}
