// SoftHSM's function table with faults in it. Entries of a PKCS#11 table are bare functions, so the
// faults are kept in one place for the process; every test runs in a process of its own.
#pragma once

#include <atomic>
#include <functional>

#include "hsm/pkcs11_module.h"
#include "hsm/pkcs11_token.h"
#include "tests/hsm/raw_session.h"

namespace tests {

// A fault that strikes `left` times, then no more; the first `spared` calls go through.
struct Fault {
    std::atomic<int> left{0};
    std::atomic<int> spared{0};
    std::atomic<CK_RV> code{CKR_OK};
    std::atomic<int> calls{0};

    void strike(CK_RV with, int times = 1, int spare = 0) {
        code = with;
        left = times;
        spared = spare;
    }
    // CKR_OK: let the call through.
    CK_RV next() {
        ++calls;
        if (left.load() <= 0) return CKR_OK;
        if (spared.load() > 0) {
            --spared;
            return CKR_OK;
        }
        --left;
        return code;
    }
};

// The real table, the faulty one, and a fault for each entry that tests break.
struct FaultTable {
    static inline CK_FUNCTION_LIST real{};
    static inline CK_FUNCTION_LIST table{};
    static inline Fault initialize, finalize, open_session, login, session_info, generate_key,
        generate_pair, find_init, encrypt_init, encrypt, decrypt_init, decrypt, sign_init, sign,
        random, mechanism_info, attribute, token_info;
    static inline std::atomic<CK_FLAGS> token_flags{0};  // added to the real ones
    static inline bool random_gives_zeros = false;
    static inline bool random_repeats = false;
    static inline bool sign_flips_a_bit = false;
    static inline CK_MECHANISM_TYPE missing_mechanism = CKM_VENDOR_DEFINED;  // none
    // What every attribute is said to have, with `claim_code` where there is room for an answer;
    // and how many slots there are said to be. 0: the truth.
    static inline CK_ULONG claimed_bytes = 0;
    static inline CK_RV claim_code = CKR_BUFFER_TOO_SMALL;
    static inline CK_ULONG claimed_slots = 0;

    static std::shared_ptr<hsm::Module> module() {
        real = *raw_functions(std::string(softhsm_library));
        table = real;
        break_lifecycle();
        break_operations();
        break_signing();
        return std::make_shared<hsm::Module>(&table, "");
    }

    // As before the first fault: for whoever runs several tests in one process.
    static void reset() {
        for (Fault* fault :
             {&initialize, &finalize, &open_session, &login, &session_info, &generate_key,
              &generate_pair, &find_init, &encrypt_init, &encrypt, &decrypt_init, &decrypt,
              &sign_init, &sign, &random, &mechanism_info, &attribute, &token_info}) {
            fault->left = 0;
            fault->spared = 0;
            fault->calls = 0;
        }
        token_flags = 0;
        random_gives_zeros = false;
        random_repeats = false;
        sign_flips_a_bit = false;
        missing_mechanism = CKM_VENDOR_DEFINED;
        claimed_bytes = claimed_slots = 0;
    }

private:
    static void break_lifecycle() {
        table.C_Initialize = [](CK_VOID_PTR arguments) {
            const CK_RV code = initialize.next();
            return code != CKR_OK ? code : real.C_Initialize(arguments);
        };
        table.C_Finalize = [](CK_VOID_PTR reserved) {
            const CK_RV code = finalize.next();
            const CK_RV answer = real.C_Finalize(reserved);
            return code != CKR_OK ? code : answer;
        };
        table.C_OpenSession = [](CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application,
                                 CK_NOTIFY notify, CK_SESSION_HANDLE* session) {
            const CK_RV code = open_session.next();
            return code != CKR_OK ? code
                                  : real.C_OpenSession(slot, flags, application, notify, session);
        };
        table.C_Login = [](CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin,
                           CK_ULONG size) {
            const CK_RV code = login.next();
            return code != CKR_OK ? code : real.C_Login(session, user, pin, size);
        };
        table.C_GetSlotList = [](CK_BBOOL with_token, CK_SLOT_ID* slots, CK_ULONG* count) {
            if (slots != nullptr || claimed_slots == 0)
                return real.C_GetSlotList(with_token, slots, count);
            *count = claimed_slots;
            return CK_RV{CKR_OK};
        };
        table.C_GetTokenInfo = [](CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
            if (const CK_RV code = token_info.next(); code != CKR_OK) return code;
            const CK_RV answer = real.C_GetTokenInfo(slot, info);
            if (answer == CKR_OK) info->flags |= token_flags.load();
            return answer;
        };
        table.C_GetMechanismInfo = [](CK_SLOT_ID slot, CK_MECHANISM_TYPE type,
                                      CK_MECHANISM_INFO* info) {
            if (type == missing_mechanism) return CK_RV{CKR_MECHANISM_INVALID};
            const CK_RV code = mechanism_info.next();
            return code != CKR_OK ? code : real.C_GetMechanismInfo(slot, type, info);
        };
    }

    static void break_signing() {
        table.C_GenerateKeyPair = [](CK_SESSION_HANDLE session, CK_MECHANISM* mechanism,
                                     CK_ATTRIBUTE* public_half, CK_ULONG public_count,
                                     CK_ATTRIBUTE* private_half, CK_ULONG private_count,
                                     CK_OBJECT_HANDLE* public_key, CK_OBJECT_HANDLE* private_key) {
            const CK_RV code = generate_pair.next();
            return code != CKR_OK ? code
                                  : real.C_GenerateKeyPair(session, mechanism, public_half,
                                                           public_count, private_half,
                                                           private_count, public_key, private_key);
        };
        table.C_SignInit = [](CK_SESSION_HANDLE session, CK_MECHANISM* mechanism,
                              CK_OBJECT_HANDLE key) {
            const CK_RV code = sign_init.next();
            return code != CKR_OK ? code : real.C_SignInit(session, mechanism, key);
        };
        table.C_Sign = [](CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size, CK_BYTE* out,
                          CK_ULONG* room) {
            const CK_RV code = sign.next();
            if (code != CKR_OK) return code;
            const CK_RV answer = real.C_Sign(session, in, size, out, room);
            if (answer == CKR_OK && sign_flips_a_bit && out != nullptr) out[*room - 1] ^= 1U;
            return answer;
        };
    }

    static void break_operations() {
        table.C_GenerateKey = [](CK_SESSION_HANDLE session, CK_MECHANISM* mechanism,
                                 CK_ATTRIBUTE* attributes, CK_ULONG count, CK_OBJECT_HANDLE* key) {
            const CK_RV code = generate_key.next();
            return code != CKR_OK ? code
                                  : real.C_GenerateKey(session, mechanism, attributes, count, key);
        };
        table.C_FindObjectsInit = [](CK_SESSION_HANDLE session, CK_ATTRIBUTE* attributes,
                                     CK_ULONG count) {
            const CK_RV code = find_init.next();
            return code != CKR_OK ? code : real.C_FindObjectsInit(session, attributes, count);
        };
        table.C_EncryptInit = [](CK_SESSION_HANDLE session, CK_MECHANISM* mechanism,
                                 CK_OBJECT_HANDLE key) {
            const CK_RV code = encrypt_init.next();
            return code != CKR_OK ? code : real.C_EncryptInit(session, mechanism, key);
        };
        // These two leave the operation active behind, as real modules do when a call fails before
        // it reaches them.
        table.C_Encrypt = [](CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size, CK_BYTE* out,
                             CK_ULONG* room) {
            const CK_RV code = encrypt.next();
            return code != CKR_OK ? code : real.C_Encrypt(session, in, size, out, room);
        };
        table.C_Decrypt = [](CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size, CK_BYTE* out,
                             CK_ULONG* room) {
            const CK_RV code = decrypt.next();
            return code != CKR_OK ? code : real.C_Decrypt(session, in, size, out, room);
        };
        table.C_DecryptInit = [](CK_SESSION_HANDLE session, CK_MECHANISM* mechanism,
                                 CK_OBJECT_HANDLE key) {
            const CK_RV code = decrypt_init.next();
            return code != CKR_OK ? code : real.C_DecryptInit(session, mechanism, key);
        };
        table.C_GenerateRandom = [](CK_SESSION_HANDLE session, CK_BYTE* out, CK_ULONG size) {
            const CK_RV code = random.next();
            if (code != CKR_OK) return code;
            if (random_gives_zeros || random_repeats) {
                std::fill_n(out, size, random_gives_zeros ? CK_BYTE{0} : CK_BYTE{7});
                return CK_RV{CKR_OK};
            }
            return real.C_GenerateRandom(session, out, size);
        };
        // A module that says that every key may be exported.
        table.C_GetAttributeValue = [](CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                       CK_ATTRIBUTE* attributes, CK_ULONG count) {
            if (claimed_bytes != 0) {
                attributes->ulValueLen = claimed_bytes;
                return attributes->pValue == nullptr ? CK_RV{CKR_OK} : claim_code;
            }
            const CK_RV answer = real.C_GetAttributeValue(session, object, attributes, count);
            if (attributes->type == CKA_EXTRACTABLE && attributes->pValue != nullptr &&
                attribute.next() != CKR_OK) {
                *static_cast<CK_BYTE*>(attributes->pValue) = CK_TRUE;
            }
            return answer;
        };
    }
};

}  // namespace tests
