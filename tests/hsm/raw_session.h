// A session beside the Token's own, with bare PKCS#11 calls: what somebody could do who has the
// PIN. The module must be initialised and logged in by an open Token.
#pragma once

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>

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
        std::vector<CK_SLOT_ID> slots(16);
        CK_ULONG count = slots.size();
        require(functions_->C_GetSlotList(CK_TRUE, slots.data(), &count));
        slots.resize(count);
        const std::string label = fixture.config().uri.substr(std::string("pkcs11:token=").size());
        for (const CK_SLOT_ID slot : slots) {
            CK_TOKEN_INFO info{};
            require(functions_->C_GetTokenInfo(slot, &info));
            if (!std::string(reinterpret_cast<const char*>(info.label), 32).starts_with(label))
                continue;
            require(functions_->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr,
                                              nullptr, &session_));
            return;
        }
        throw std::runtime_error("no such token");
    }
    ~RawSession() { functions_->C_CloseSession(session_); }
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

    CK_OBJECT_HANDLE find(const hsm::KeyId& id) const {
        base::Bytes bytes = base::to_bytes(id.bytes());
        CK_ATTRIBUTE attribute{CKA_ID, bytes.data(), bytes.size()};
        require(functions_->C_FindObjectsInit(session_, &attribute, 1));
        CK_OBJECT_HANDLE object = 0;
        CK_ULONG count = 0;
        require(functions_->C_FindObjects(session_, &object, 1, &count));
        require(functions_->C_FindObjectsFinal(session_));
        if (count != 1) throw std::runtime_error("no such key");
        return object;
    }

    void destroy(CK_OBJECT_HANDLE object) const {
        require(functions_->C_DestroyObject(session_, object));
    }

    CK_RV read_value(CK_OBJECT_HANDLE object) const {
        base::Bytes value(64);
        CK_ATTRIBUTE attribute{CKA_VALUE, value.data(), value.size()};
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
    static void require(CK_RV code) {
        if (code != CKR_OK) throw std::runtime_error("PKCS#11 call gave " + std::to_string(code));
    }

    CK_FUNCTION_LIST_PTR functions_;
    CK_SESSION_HANDLE session_ = 0;
};

}  // namespace tests
