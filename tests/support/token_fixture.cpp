#include "tests/support/token_fixture.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>

#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "base/uuid.h"

// SoftHSM leaks the name of the curve whenever it looks at an Ed25519 key; OpenSSL has no frame
// pointers, so a leak report ends at its allocator. Nothing where there is no leak checker.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
    return "leak:CRYPTO_zalloc\nleak:ASN1_STRING_set\n";
}

namespace tests {
namespace {

void require_ok(CK_RV code, const char* call) {
    if (code != CKR_OK)
        throw std::runtime_error(std::string(call) + " gave " + std::to_string(code));
}

CK_UTF8CHAR_PTR to_chars(std::string_view text) {
    return reinterpret_cast<CK_UTF8CHAR_PTR>(const_cast<char*>(text.data()));
}

// The module, initialised for the time of this object.
class RawModule {
public:
    explicit RawModule(std::string_view library, std::string init_string = {})
        : init_string_(std::move(init_string)) {
        void* handle = ::dlopen(std::string(library).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) throw std::runtime_error("can't load " + std::string(library));
        const auto get =
            reinterpret_cast<CK_C_GetFunctionList>(::dlsym(handle, "C_GetFunctionList"));
        require_ok(get(&functions_), "C_GetFunctionList");
        struct {
            CK_C_INITIALIZE_ARGS standard{};
            void* nss_reserved = nullptr;
        } arguments;
        arguments.standard.flags = CKF_OS_LOCKING_OK;
        if (!init_string_.empty()) arguments.standard.pReserved = init_string_.data();
        require_ok(functions_->C_Initialize(&arguments.standard), "C_Initialize");
    }
    ~RawModule() { functions_->C_Finalize(nullptr); }
    RawModule(const RawModule&) = delete;
    RawModule& operator=(const RawModule&) = delete;

    CK_FUNCTION_LIST_PTR operator->() const { return functions_; }

    template <typename Predicate>
    CK_SLOT_ID slot(Predicate&& wanted) const {
        std::vector<CK_SLOT_ID> slots(64);
        CK_ULONG count = slots.size();
        require_ok(functions_->C_GetSlotList(CK_TRUE, slots.data(), &count), "C_GetSlotList");
        slots.resize(count);
        for (const CK_SLOT_ID slot : slots) {
            CK_TOKEN_INFO info{};
            require_ok(functions_->C_GetTokenInfo(slot, &info), "C_GetTokenInfo");
            if (wanted(info)) return slot;
        }
        throw std::runtime_error("no such token");
    }

private:
    std::string init_string_;
    CK_FUNCTION_LIST_PTR functions_ = nullptr;
};

std::string padded_label(const std::string& label) {
    std::string padded = label;
    padded.resize(32, ' ');
    return padded;
}

bool has_label(const CK_TOKEN_INFO& info, const std::string& label) {
    return std::string(reinterpret_cast<const char*>(info.label), sizeof info.label) ==
           padded_label(label);
}

void set_user_pin(const RawModule& module, CK_SLOT_ID slot, std::string_view so_pin,
                  const base::SecretBytes& pin) {
    CK_SESSION_HANDLE session = 0;
    require_ok(module->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr,
                                     &session),
               "C_OpenSession");
    require_ok(module->C_Login(session, CKU_SO, to_chars(so_pin), so_pin.size()), "C_Login");
    require_ok(module->C_InitPIN(session, to_chars(pin.expose_text()), pin.size()), "C_InitPIN");
    require_ok(module->C_Logout(session), "C_Logout");
    require_ok(module->C_CloseSession(session), "C_CloseSession");
}

}  // namespace

TokenFixture::TokenFixture() : pin_(base::as_bytes(base::Uuid::random().to_string())) {}

SoftHsmToken::SoftHsmToken(const std::string& label) {
    std::filesystem::create_directory(directory_ / "tokens");
    config_.module = softhsm_library;
    config_.uri = "pkcs11:token=" + label;
    config_.softhsm_config = directory_.write(
        "softhsm2.conf", "directories.tokendir = " + (directory_ / "tokens").string() +
                             "\nobjectstore.backend = file\nlog.level = ERROR\n");
    ::setenv("SOFTHSM2_CONF", config_.softhsm_config.c_str(), 1);
    add_token(label);
}

void SoftHsmToken::add_token(const std::string& label) {
    const RawModule module(softhsm_library);
    const CK_SLOT_ID empty = module.slot(
        [](const CK_TOKEN_INFO& info) { return (info.flags & CKF_TOKEN_INITIALIZED) == 0; });
    require_ok(
        module->C_InitToken(empty, to_chars(so_pin), so_pin.size(), to_chars(padded_label(label))),
        "C_InitToken");
    const CK_SLOT_ID slot = module.slot([&](const CK_TOKEN_INFO& info) {
        return has_label(info, label) && (info.flags & CKF_USER_PIN_INITIALIZED) == 0;
    });
    set_user_pin(module, slot, so_pin, pin_);
}

std::filesystem::path SoftHsmToken::token_object() const {
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / "tokens")) {
        return entry.path() / "token.object";
    }
    throw std::runtime_error("no token folder");
}

NssToken::NssToken() {
    // A PIN is stretched by 10,000 rounds, and so again for each attribute of a private key: half
    // of what these tests would compute. What is promised of a token does not depend on how many.
    ::setenv("NSS_MAX_MP_PBE_ITERATION_COUNT", "1000", 1);
    config_.module = softokn_library;
    config_.uri = "pkcs11:token=strongroom-nss";
    config_.init_string =
        "configdir='sql:" + directory_.path().string() +
        "' certPrefix='' keyPrefix='' secmod='secmod.db' flags= "
        "dbTokenDescription='strongroom-nss' dbSlotDescription='strongroom-nss' minPWLen='0'";
    const RawModule module(softokn_library, config_.init_string);
    const CK_SLOT_ID slot =
        module.slot([](const CK_TOKEN_INFO& info) { return has_label(info, "strongroom-nss"); });
    set_user_pin(module, slot, "", pin_);
}

}  // namespace tests
