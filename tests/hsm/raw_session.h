// A session beside the Token's own, with bare PKCS#11 calls: what somebody could do who has the
// PIN. It takes the module as an open Token of this process has initialised it and logged in; if
// there is none, it does both itself.
#pragma once

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "hsm/token.h"
#include "tests/support/token_fixture.h"

namespace tests {

inline CK_FUNCTION_LIST_PTR raw_functions(const std::filesystem::path& library) {
    void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) throw std::runtime_error("can't load " + library.string());
    const auto get = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(handle, "C_GetFunctionList"));
    CK_FUNCTION_LIST_PTR functions = nullptr;
    if (get(&functions) != CKR_OK) throw std::runtime_error("C_GetFunctionList");
    return functions;
}

class RawSession {
public:
    explicit RawSession(const TokenFixture& fixture)
        : functions_(raw_functions(fixture.config().module)) {
        initialise(fixture.config().init_string);
        session_ = open_session(fixture.config().uri.substr(std::string("pkcs11:token=").size()));
        if (is_ours_) log_in(fixture.pin());
    }
    ~RawSession() {
        functions_->C_CloseSession(session_);
        if (is_ours_) functions_->C_Finalize(nullptr);
    }
    RawSession(const RawSession&) = delete;
    RawSession& operator=(const RawSession&) = delete;

    CK_OBJECT_HANDLE generate_key(std::string_view id, bool wrap = false) const {
        CK_ULONG size = 32;
        CK_BBOOL yes = CK_TRUE;
        CK_BBOOL no = CK_FALSE;
        std::string name(id);
        CK_BBOOL* wraps = wrap ? &yes : &no;
        std::vector<CK_ATTRIBUTE> attributes{{CKA_VALUE_LEN, &size, sizeof size},
                                             {CKA_TOKEN, &yes, 1},
                                             {CKA_PRIVATE, &yes, 1},
                                             {CKA_SENSITIVE, &yes, 1},
                                             {CKA_ENCRYPT, &yes, 1},
                                             {CKA_DECRYPT, &yes, 1},
                                             {CKA_WRAP, wraps, 1},
                                             {CKA_UNWRAP, wraps, 1},
                                             {CKA_ID, name.data(), name.size()}};
        CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
        CK_OBJECT_HANDLE key = 0;
        require(functions_->C_GenerateKey(session_, &mechanism, attributes.data(),
                                          attributes.size(), &key));
        return key;
    }

    // The one object of that id; of one class, when it is given.
    CK_OBJECT_HANDLE find(const hsm::KeyId& id,
                          std::optional<CK_OBJECT_CLASS> object_class = {}) const {
        const auto found = find_all(id, object_class);
        if (found.size() != 1) throw std::runtime_error("no such key");
        return found.front();
    }
    std::size_t count(const hsm::KeyId& id) const { return find_all(id, {}).size(); }

    base::Bytes read(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) const {
        base::Bytes value(1024);
        CK_ATTRIBUTE attribute{type, value.data(), value.size()};
        require(functions_->C_GetAttributeValue(session_, object, &attribute, 1));
        value.resize(attribute.ulValueLen);
        return value;
    }

    void generate_p256_pair(const hsm::KeyId& id) const {
        base::Bytes name = base::to_bytes(id.bytes());
        base::Bytes curve{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
        CK_MECHANISM mechanism{CKM_EC_KEY_PAIR_GEN, nullptr, 0};
        std::vector<CK_ATTRIBUTE> both{{CKA_ID, name.data(), name.size()}, {CKA_TOKEN, yes(), 1}};
        auto of_public = both;
        of_public.push_back({CKA_EC_PARAMS, curve.data(), curve.size()});
        of_public.push_back({CKA_VERIFY, yes(), 1});
        both.push_back({CKA_SIGN, yes(), 1});
        CK_OBJECT_HANDLE public_key = 0;
        CK_OBJECT_HANDLE private_key = 0;
        require(functions_->C_GenerateKeyPair(session_, &mechanism, of_public.data(),
                                              of_public.size(), both.data(), both.size(),
                                              &public_key, &private_key));
    }

    void import_hmac_key(const hsm::KeyId& id, base::Bytes value) const {
        import(id, CKO_SECRET_KEY, CKK_GENERIC_SECRET,
               {{CKA_VALUE, value.data(), value.size()},
                { CKA_SIGN,
                  yes(),
                  1 }});
    }
    void import_aes_key(const hsm::KeyId& id, base::Bytes value) const {
        import(id, CKO_SECRET_KEY, CKK_AES,
               {{CKA_VALUE, value.data(), value.size()},
                {CKA_ENCRYPT, yes(), 1},
                { CKA_DECRYPT,
                  yes(),
                  1 }});
    }
    // `value` is the private number or seed; `point` as in hsm::curve_public_key().
    void import_ec_pair(const hsm::KeyId& id, hsm::KeyKind kind, base::Bytes value,
                        const base::Bytes& point) const {
        const base::Bytes curve =
            kind == hsm::KeyKind::ecdsa_p256
                ? base::Bytes{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
                : base::Bytes{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
        import_curve_pair(id, CKK_EC, curve, std::move(value), point);
    }
    void import_ed25519_pair(const hsm::KeyId& id, base::Bytes value,
                             const base::Bytes& point) const {
        import_curve_pair(id, CKK_EC_EDWARDS,
                          {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'},
                          std::move(value), point);
    }
    void import_p256_public_key(const hsm::KeyId& id, base::Bytes point) const {
        base::Bytes curve{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
        import(id, CKO_PUBLIC_KEY, CKK_EC,
               {{CKA_EC_PARAMS, curve.data(), curve.size()},
                {CKA_EC_POINT, point.data(), point.size()},
                { CKA_VERIFY,
                  yes(),
                  1 }});
    }

    void destroy(CK_OBJECT_HANDLE object) const {
        require(functions_->C_DestroyObject(session_, object));
    }

    CK_RV read_value(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type = CKA_VALUE) const {
        base::Bytes value(1024);
        CK_ATTRIBUTE attribute{type, value.data(), value.size()};
        return functions_->C_GetAttributeValue(session_, object, &attribute, 1);
    }

    CK_RV set_flag(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool value) const {
        CK_BBOOL byte = value ? CK_TRUE : CK_FALSE;
        CK_ATTRIBUTE attribute{type, &byte, 1};
        return functions_->C_SetAttributeValue(session_, object, &attribute, 1);
    }

    CK_RV copy_with(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool value) const {
        CK_BBOOL byte = value ? CK_TRUE : CK_FALSE;
        CK_ATTRIBUTE attribute{type, &byte, 1};
        CK_OBJECT_HANDLE copy = 0;
        return functions_->C_CopyObject(session_, object, &attribute, 1, &copy);
    }

    // Under a key that anyone with the PIN can make, which is therefore not trusted.
    CK_RV wrap_under_new_key(CK_OBJECT_HANDLE object) const {
        const CK_OBJECT_HANDLE wrapping = generate_key("wrapping", true);
        CK_MECHANISM mechanism{CKM_AES_KEY_WRAP, nullptr, 0};
        base::Bytes wrapped(256);
        CK_ULONG size = wrapped.size();
        return functions_->C_WrapKey(session_, &mechanism, wrapping, object, wrapped.data(), &size);
    }

private:
    void initialise(std::string init_string) {
        struct {
            CK_C_INITIALIZE_ARGS standard{};
            void* nss_reserved = nullptr;
        } arguments;
        arguments.standard.flags = CKF_OS_LOCKING_OK;
        if (!init_string.empty()) arguments.standard.pReserved = init_string.data();
        const CK_RV code = functions_->C_Initialize(&arguments.standard);
        if (code != CKR_CRYPTOKI_ALREADY_INITIALIZED) require(code);
        is_ours_ = code == CKR_OK;
    }

    CK_SESSION_HANDLE open_session(const std::string& label) const {
        std::vector<CK_SLOT_ID> slots(16);
        CK_ULONG count = slots.size();
        require(functions_->C_GetSlotList(CK_TRUE, slots.data(), &count));
        slots.resize(count);
        for (const CK_SLOT_ID slot : slots) {
            CK_TOKEN_INFO info{};
            require(functions_->C_GetTokenInfo(slot, &info));
            if (!std::string(reinterpret_cast<const char*>(info.label), 32).starts_with(label))
                continue;
            CK_SESSION_HANDLE session = 0;
            require(functions_->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr,
                                              nullptr, &session));
            return session;
        }
        throw std::runtime_error("no such token");
    }

    void log_in(const base::SecretBytes& pin) const {
        base::SecretBytes given = pin.clone();
        require(
            functions_->C_Login(session_, CKU_USER, given.expose_mutable().data(), given.size()));
    }

    static CK_BBOOL* yes() {
        static CK_BBOOL value = CK_TRUE;
        return &value;
    }

    std::vector<CK_OBJECT_HANDLE> find_all(const hsm::KeyId& id,
                                           std::optional<CK_OBJECT_CLASS> object_class) const {
        base::Bytes bytes = base::to_bytes(id.bytes());
        std::vector<CK_ATTRIBUTE> wanted{{CKA_ID, bytes.data(), bytes.size()}};
        if (object_class) wanted.push_back({CKA_CLASS, &*object_class, sizeof(CK_OBJECT_CLASS)});
        require(functions_->C_FindObjectsInit(session_, wanted.data(), wanted.size()));
        std::vector<CK_OBJECT_HANDLE> found(8);
        CK_ULONG count = 0;
        require(functions_->C_FindObjects(session_, found.data(), found.size(), &count));
        require(functions_->C_FindObjectsFinal(session_));
        found.resize(count);
        return found;
    }

    void import(const hsm::KeyId& id, CK_OBJECT_CLASS object_class, CK_KEY_TYPE type,
                std::vector<CK_ATTRIBUTE> attributes) const {
        base::Bytes name = base::to_bytes(id.bytes());
        attributes.push_back({CKA_CLASS, &object_class, sizeof object_class});
        attributes.push_back({CKA_KEY_TYPE, &type, sizeof type});
        attributes.push_back({CKA_ID, name.data(), name.size()});
        attributes.push_back({CKA_TOKEN, yes(), 1});
        CK_OBJECT_HANDLE object = 0;
        require(
            functions_->C_CreateObject(session_, attributes.data(), attributes.size(), &object));
    }

    void import_curve_pair(const hsm::KeyId& id, CK_KEY_TYPE type, base::Bytes curve,
                           base::Bytes value, const base::Bytes& point) const {
        import(id, CKO_PRIVATE_KEY, type,
               {{CKA_EC_PARAMS, curve.data(), curve.size()},
                {CKA_VALUE, value.data(), value.size()},
                { CKA_SIGN,
                  yes(),
                  1 }});
        base::Bytes wrapped{0x04, static_cast<std::uint8_t>(point.size())};
        wrapped.insert(wrapped.end(), point.begin(), point.end());
        import(id, CKO_PUBLIC_KEY, type,
               {{CKA_EC_PARAMS, curve.data(), curve.size()},
                {CKA_EC_POINT, wrapped.data(), wrapped.size()},
                { CKA_VERIFY,
                  yes(),
                  1 }});
    }

    static void require(CK_RV code) {
        if (code != CKR_OK) throw std::runtime_error("PKCS#11 call gave " + std::to_string(code));
    }

    CK_FUNCTION_LIST_PTR functions_;
    CK_SESSION_HANDLE session_ = 0;
    bool is_ours_ = false;  // the initialisation
};

}  // namespace tests
