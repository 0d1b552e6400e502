#include "hsm/pkcs11_session.h"

#include <array>
#include <string>
#include <utility>

#include "hsm/pkcs11_error.h"

namespace hsm {
namespace {

constexpr std::size_t find_batch = 64;
constexpr std::size_t usual_attribute_bytes = 64;
// Far beyond any that is read here (a modulus has 512 bytes): a module that says more is broken,
// and its word is no reason to take so much memory.
constexpr std::size_t max_attribute_bytes = 16'384;

CK_GCM_PARAMS gcm_parameters(const Iv& iv, base::ByteView aad) {
    CK_GCM_PARAMS parameters{};
    parameters.pIv = to_ck_bytes(iv);
    parameters.ulIvLen = to_ck_ulong(iv.size());
    // Ignored by SoftHSM, demanded by NSS, needed for decryption by some network HSMs.
    parameters.ulIvBits = to_ck_ulong(iv.size() * 8);
    parameters.pAAD = to_ck_bytes(aad);
    parameters.ulAADLen = to_ck_ulong(aad.size());
    parameters.ulTagBits = tag_bytes * 8;
    return parameters;
}

// Device trouble, whatever the code: with the next call the token may be well again.
void require_possible(CK_ULONG length, std::size_t max) {
    if (length <= max) return;
    throw Pkcs11Error(CKR_BUFFER_TOO_SMALL,
                      "C_GetAttributeValue, which says " + std::to_string(length) + " bytes",
                      ErrorClass::ambiguous);
}

}  // namespace

Session::Session(std::shared_ptr<Module> module, CK_SLOT_ID slot)
    : module_(std::move(module)), epoch_(module_->epoch()) {
    // Always read-write: some modules have no read-only sessions at all.
    check_call((*module_)->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr,
                                         nullptr, &handle_),
               "C_OpenSession");
}

Session::~Session() { close(); }

Session::Session(Session&& other) noexcept
    : module_(std::move(other.module_)),
      epoch_(other.epoch_),
      handle_(std::exchange(other.handle_, CK_INVALID_HANDLE)) {}

Session& Session::operator=(Session&& other) noexcept {
    if (this != &other) {
        close();
        module_ = std::move(other.module_);
        epoch_ = other.epoch_;
        handle_ = std::exchange(other.handle_, CK_INVALID_HANDLE);
    }
    return *this;
}

void Session::close() noexcept {
    // After a re-initialisation the same number may be somebody else's session.
    if (handle_ != CK_INVALID_HANDLE && module_ && module_->epoch() == epoch_)
        (*module_)->C_CloseSession(handle_);
    handle_ = CK_INVALID_HANDLE;
}

CK_SESSION_INFO Session::info() const {
    CK_SESSION_INFO info{};
    check_call((*module_)->C_GetSessionInfo(handle_, &info), "C_GetSessionInfo");
    return info;
}

void Session::require_login() const {
    if (info().state != CKS_RW_USER_FUNCTIONS)
        throw to_error(CKR_USER_NOT_LOGGED_IN, "C_GetSessionInfo");
}

CK_RV Session::log_in(base::ByteView pin) const {
    return (*module_)->C_Login(handle_, CKU_USER, to_ck_bytes(pin), to_ck_ulong(pin.size()));
}

std::vector<CK_OBJECT_HANDLE> Session::find(const AttributeTemplate& what, std::size_t max) const {
    check_call((*module_)->C_FindObjectsInit(handle_, what.data(), what.size()),
               "C_FindObjectsInit");
    std::vector<CK_OBJECT_HANDLE> found;
    std::array<CK_OBJECT_HANDLE, find_batch> batch{};
    while (found.size() < max) {
        CK_ULONG count = 0;
        const CK_ULONG room = std::min(to_ck_ulong(max - found.size()), to_ck_ulong(batch.size()));
        check_call((*module_)->C_FindObjects(handle_, batch.data(), room, &count), "C_FindObjects");
        if (count == 0) break;
        if (count > room)
            throw base::Error(base::ErrorCode::internal, "the token found more than was asked for");
        found.insert(found.end(), batch.begin(),
                     batch.begin() + static_cast<std::ptrdiff_t>(count));
    }
    check_call((*module_)->C_FindObjectsFinal(handle_), "C_FindObjectsFinal");
    return found;
}

CK_OBJECT_HANDLE Session::generate_key(CK_MECHANISM_TYPE type,
                                       const AttributeTemplate& attributes) const {
    CK_MECHANISM mechanism{type, nullptr, 0};
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    check_call(
        (*module_)->C_GenerateKey(handle_, &mechanism, attributes.data(), attributes.size(), &key),
        "C_GenerateKey");
    return key;
}

void Session::generate_pair(CK_MECHANISM_TYPE type, const AttributeTemplate& public_half,
                            const AttributeTemplate& private_half) const {
    CK_MECHANISM mechanism{type, nullptr, 0};
    CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE;
    CK_OBJECT_HANDLE private_key = CK_INVALID_HANDLE;
    check_call((*module_)->C_GenerateKeyPair(handle_, &mechanism, public_half.data(),
                                             public_half.size(), private_half.data(),
                                             private_half.size(), &public_key, &private_key),
               "C_GenerateKeyPair");
}

CK_OBJECT_HANDLE Session::create_object(const AttributeTemplate& attributes) const {
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    check_call((*module_)->C_CreateObject(handle_, attributes.data(), attributes.size(), &object),
               "C_CreateObject");
    return object;
}

void Session::destroy_object(CK_OBJECT_HANDLE object) const {
    check_call((*module_)->C_DestroyObject(handle_, object), "C_DestroyObject");
}

std::optional<base::Bytes> Session::read_attribute(CK_OBJECT_HANDLE object,
                                                   CK_ATTRIBUTE_TYPE type) const {
    CK_ATTRIBUTE attribute{type, nullptr, 0};
    const auto answer = [&](void* room, std::size_t bytes) {
        attribute.pValue = room;
        attribute.ulValueLen = to_ck_ulong(bytes);
        return (*module_)->C_GetAttributeValue(handle_, object, &attribute, 1);
    };
    const auto has_value = [&](CK_RV code) {
        if (code == CKR_ATTRIBUTE_TYPE_INVALID || code == CKR_ATTRIBUTE_SENSITIVE) return false;
        check_call(code, "C_GetAttributeValue");
        return attribute.ulValueLen != unavailable_information;
    };
    // Most are short: each call costs SoftHSM two looks at files, and other tokens a way there.
    base::Bytes value(usual_attribute_bytes);
    CK_RV code = answer(value.data(), value.size());
    if (code == CKR_BUFFER_TOO_SMALL) {
        if (!has_value(answer(nullptr, 0))) return std::nullopt;
        require_possible(attribute.ulValueLen, max_attribute_bytes);
        value.resize(attribute.ulValueLen);
        code = answer(to_ck_bytes(value), value.size());
    }
    if (!has_value(code)) return std::nullopt;
    require_possible(attribute.ulValueLen, value.size());
    value.resize(attribute.ulValueLen);
    return value;
}

void Session::random(std::span<std::uint8_t> out) const {
    if (out.empty()) return;
    check_call((*module_)->C_GenerateRandom(handle_, out.data(), to_ck_ulong(out.size())),
               "C_GenerateRandom");
}

base::Bytes Session::encrypt(CK_OBJECT_HANDLE key, const Iv& iv, base::ByteView aad,
                             base::ByteView plaintext) const {
    CK_GCM_PARAMS parameters = gcm_parameters(iv, aad);
    CK_MECHANISM mechanism{CKM_AES_GCM, &parameters, sizeof parameters};
    check_call((*module_)->C_EncryptInit(handle_, &mechanism, key), "C_EncryptInit");
    base::Bytes ciphertext(plaintext.size() + tag_bytes);
    CK_ULONG size = to_ck_ulong(ciphertext.size());
    check_call((*module_)->C_Encrypt(handle_, to_ck_bytes(plaintext), to_ck_ulong(plaintext.size()),
                                     ciphertext.data(), &size),
               "C_Encrypt");
    if (size != ciphertext.size()) {
        throw base::Error(base::ErrorCode::internal,
                          "the token made a ciphertext of a wrong length");
    }
    return ciphertext;
}

CK_RV Session::decrypt(CK_OBJECT_HANDLE key, const Iv& iv, base::ByteView aad,
                       base::ByteView ciphertext, base::SecretBytes& plaintext) const {
    CK_GCM_PARAMS parameters = gcm_parameters(iv, aad);
    CK_MECHANISM mechanism{CKM_AES_GCM, &parameters, sizeof parameters};
    if (const CK_RV code = (*module_)->C_DecryptInit(handle_, &mechanism, key); code != CKR_OK)
        return code;
    // Modules want room for the tag too, although they do not write it.
    plaintext = base::SecretBytes(ciphertext.size());
    CK_ULONG size = to_ck_ulong(plaintext.size());
    const CK_RV code =
        (*module_)->C_Decrypt(handle_, to_ck_bytes(ciphertext), to_ck_ulong(ciphertext.size()),
                              plaintext.expose_mutable().data(), &size);
    if (code != CKR_OK) return code;
    if (size + tag_bytes != ciphertext.size()) {
        throw base::Error(base::ErrorCode::internal,
                          "the token made a plaintext of a wrong length");
    }
    plaintext.shrink(size);
    return CKR_OK;
}

base::Bytes Session::sign(CK_MECHANISM mechanism, CK_OBJECT_HANDLE key, base::ByteView data,
                          std::size_t size) const {
    check_call((*module_)->C_SignInit(handle_, &mechanism, key), "C_SignInit");
    base::Bytes signature(size);
    CK_ULONG written = to_ck_ulong(size);
    check_call((*module_)->C_Sign(handle_, to_ck_bytes(data), to_ck_ulong(data.size()),
                                  signature.data(), &written),
               "C_Sign");
    if (written != size) {
        throw base::Error(base::ErrorCode::internal,
                          "the token made a signature of a wrong length");
    }
    return signature;
}

}  // namespace hsm
