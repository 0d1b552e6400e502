#include "hsm/pkcs11_self_test.h"

#include "base/encoding.h"
#include "hsm/pkcs11_kinds.h"

namespace hsm {
namespace {

using base::refuse;

void require_mechanism(const Module& module, CK_SLOT_ID slot, CK_MECHANISM_TYPE mechanism,
                       CK_FLAGS uses, const std::string& name) {
    CK_MECHANISM_INFO info{};
    const CK_RV code = module->C_GetMechanismInfo(slot, mechanism, &info);
    if (code == CKR_MECHANISM_INVALID)
        refuse("the token has no " + name + "; it can't hold master keys");
    check_call(code, "C_GetMechanismInfo");
    if ((info.flags & uses) != uses) refuse("the token's " + name + " lacks a use that is needed");
}

base::Bytes from_hex(std::string_view text) { return base::parse_hex(text).value(); }

// McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16 (AES-256, 96-bit IV).
struct KnownAnswer {
    base::Bytes key = from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    Iv iv{0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
    base::Bytes aad = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    base::Bytes plaintext = from_hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    base::Bytes ciphertext = from_hex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b");
};

AttributeTemplate session_key() {
    AttributeTemplate attributes;
    attributes.number(CKA_CLASS, CKO_SECRET_KEY)
        .number(CKA_KEY_TYPE, CKK_AES)
        .flag(CKA_TOKEN, false)
        .flag(CKA_ENCRYPT, true)
        .flag(CKA_DECRYPT, true)
        .flag(CKA_WRAP, false)
        .flag(CKA_UNWRAP, false);
    return attributes;
}

// Empty when the module takes no keys from outside, as certified modules do.
std::optional<CK_OBJECT_HANDLE> import_key(const Operation& operation,
                                           const AttributeTemplate& attributes) {
    try {
        return operation.session().create_object(attributes);
    } catch (const Pkcs11Error& error) {
        if (error.error_class() == ErrorClass::token_gone) throw;
        operation.lease.renew();
        return std::nullopt;
    }
}

CK_OBJECT_HANDLE generate_session_key(const Operation& operation) {
    AttributeTemplate attributes = session_key();
    attributes.number(CKA_VALUE_LEN, aes_key_bytes)
        .flag(CKA_SENSITIVE, true)
        .flag(CKA_EXTRACTABLE, false);
    return operation.session().generate_key(CKM_AES_KEY_GEN, attributes);
}

void test_gcm(const Operation& operation) {
    const KnownAnswer answer;
    AttributeTemplate known = session_key();
    known.bytes(CKA_VALUE, answer.key);
    const auto imported = import_key(operation, known);
    const CK_OBJECT_HANDLE key = imported ? *imported : generate_session_key(operation);
    base::Bytes sealed = operation.session().encrypt(key, answer.iv, answer.aad, answer.plaintext);
    if (imported && sealed != answer.ciphertext)
        refuse("the token's CKM_AES_GCM gives a wrong answer to a known question");
    base::SecretBytes opened;
    check_call(operation.session().decrypt(key, answer.iv, answer.aad, sealed, opened),
               "C_Decrypt");
    if (!opened.equals(answer.plaintext))
        refuse("the token's CKM_AES_GCM does not decrypt what it encrypted");
    operation.session().destroy_object(key);
}

void test_tampering(const Operation& operation) {
    const KnownAnswer answer;
    const CK_OBJECT_HANDLE key = generate_session_key(operation);
    base::Bytes sealed = operation.session().encrypt(key, answer.iv, answer.aad, answer.plaintext);
    sealed.back() ^= 1U;
    base::SecretBytes opened;
    const CK_RV code = operation.session().decrypt(key, answer.iv, answer.aad, sealed, opened);
    operation.lease.renew();  // the session saw a failure; the key goes with it
    if (code == CKR_OK) refuse("the token's CKM_AES_GCM opens a ciphertext that was tampered with");
}

// RFC 4231 4.7: a key that is long enough for every module. One that takes no keys from outside is
// not tested: what a MAC must be can't be told without the key.
void test_hmac(const Operation& operation) {
    const base::Bytes key(131, 0xaa);
    const auto expected =
        from_hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    AttributeTemplate attributes;
    attributes.number(CKA_CLASS, CKO_SECRET_KEY)
        .number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .flag(CKA_TOKEN, false)
        .flag(CKA_SIGN, true)
        .bytes(CKA_VALUE, key);
    const auto imported = import_key(operation, attributes);
    if (!imported) return;
    const auto text = base::as_bytes("Test Using Larger Than Block-Size Key - Hash Key First");
    if (sign(operation.session(), *imported, KeyKind::hmac_sha_256, text) != expected)
        refuse("the token's CKM_SHA256_HMAC gives a wrong answer to a known question");
    operation.session().destroy_object(*imported);
}

// Signatures need no test at the start: each is verified before it is given out.
void test_gcm_and_tampering(Connection& connection) {
    try {
        connection.once(test_gcm);
        connection.once(test_tampering);
    } catch (const Pkcs11Error& error) {
        refuse("the token fails the known-answer test of CKM_AES_GCM", error.detail());
    }
}

}  // namespace

void self_test(const Module& module, CK_SLOT_ID slot, Connection& connection) {
    require_mechanism(module, slot, CKM_AES_KEY_GEN, CKF_GENERATE, "CKM_AES_KEY_GEN");
    require_mechanism(module, slot, CKM_AES_GCM, CKF_ENCRYPT | CKF_DECRYPT, "CKM_AES_GCM");
    test_gcm_and_tampering(connection);
    if (!is_supported(module, slot, KeyKind::hmac_sha_256)) return;
    try {
        connection.once(test_hmac);
    } catch (const Pkcs11Error& error) {
        refuse("the token fails the known-answer test of CKM_SHA256_HMAC", error.detail());
    }
}

}  // namespace hsm
