// The functions of a PKCS#11 2.40 table by name, in the table's order, and which of their arguments
// name sessions and objects.
#pragma once

#include <p11-kit/pkcs11.h>

#include <array>
#include <cstddef>
#include <string_view>

#define FAULTY_PKCS11_FUNCTIONS(X) \
    X(C_Initialize)                \
    X(C_Finalize)                  \
    X(C_GetInfo)                   \
    X(C_GetFunctionList)           \
    X(C_GetSlotList)               \
    X(C_GetSlotInfo)               \
    X(C_GetTokenInfo)              \
    X(C_GetMechanismList)          \
    X(C_GetMechanismInfo)          \
    X(C_InitToken)                 \
    X(C_InitPIN)                   \
    X(C_SetPIN)                    \
    X(C_OpenSession)               \
    X(C_CloseSession)              \
    X(C_CloseAllSessions)          \
    X(C_GetSessionInfo)            \
    X(C_GetOperationState)         \
    X(C_SetOperationState)         \
    X(C_Login)                     \
    X(C_Logout)                    \
    X(C_CreateObject)              \
    X(C_CopyObject)                \
    X(C_DestroyObject)             \
    X(C_GetObjectSize)             \
    X(C_GetAttributeValue)         \
    X(C_SetAttributeValue)         \
    X(C_FindObjectsInit)           \
    X(C_FindObjects)               \
    X(C_FindObjectsFinal)          \
    X(C_EncryptInit)               \
    X(C_Encrypt)                   \
    X(C_EncryptUpdate)             \
    X(C_EncryptFinal)              \
    X(C_DecryptInit)               \
    X(C_Decrypt)                   \
    X(C_DecryptUpdate)             \
    X(C_DecryptFinal)              \
    X(C_DigestInit)                \
    X(C_Digest)                    \
    X(C_DigestUpdate)              \
    X(C_DigestKey)                 \
    X(C_DigestFinal)               \
    X(C_SignInit)                  \
    X(C_Sign)                      \
    X(C_SignUpdate)                \
    X(C_SignFinal)                 \
    X(C_SignRecoverInit)           \
    X(C_SignRecover)               \
    X(C_VerifyInit)                \
    X(C_Verify)                    \
    X(C_VerifyUpdate)              \
    X(C_VerifyFinal)               \
    X(C_VerifyRecoverInit)         \
    X(C_VerifyRecover)             \
    X(C_DigestEncryptUpdate)       \
    X(C_DecryptDigestUpdate)       \
    X(C_SignEncryptUpdate)         \
    X(C_DecryptVerifyUpdate)       \
    X(C_GenerateKey)               \
    X(C_GenerateKeyPair)           \
    X(C_WrapKey)                   \
    X(C_UnwrapKey)                 \
    X(C_DeriveKey)                 \
    X(C_SeedRandom)                \
    X(C_GenerateRandom)            \
    X(C_GetFunctionStatus)         \
    X(C_CancelFunction)            \
    X(C_WaitForSlotEvent)

namespace tests {

// NOLINTBEGIN(readability-identifier-naming): the standard's own names
#define FAULTY_PKCS11_ENUMERATOR(name) name,
enum class Function : std::size_t { FAULTY_PKCS11_FUNCTIONS(FAULTY_PKCS11_ENUMERATOR) };
#undef FAULTY_PKCS11_ENUMERATOR
// NOLINTEND(readability-identifier-naming)

#define FAULTY_PKCS11_NAME(name) std::string_view(#name),
inline constexpr std::array function_names{FAULTY_PKCS11_FUNCTIONS(FAULTY_PKCS11_NAME)};
#undef FAULTY_PKCS11_NAME
inline constexpr std::size_t function_count = function_names.size();

constexpr std::size_t index_of(Function function) noexcept {
    return static_cast<std::size_t>(function);
}

// Whether the first argument is a session.
constexpr bool takes_session(Function function) noexcept {
    return index_of(function) >= index_of(Function::C_CloseSession) &&
           function != Function::C_CloseAllSessions && function != Function::C_WaitForSlotEvent;
}

// A bit for each argument that is an object's handle going in.
constexpr unsigned object_arguments(Function function) noexcept {
    using enum Function;
    switch (function) {
        case C_CopyObject:
        case C_DestroyObject:
        case C_GetObjectSize:
        case C_GetAttributeValue:
        case C_SetAttributeValue:
        case C_DigestKey:
            return 1U << 1U;
        case C_EncryptInit:
        case C_DecryptInit:
        case C_SignInit:
        case C_SignRecoverInit:
        case C_VerifyInit:
        case C_VerifyRecoverInit:
        case C_UnwrapKey:
        case C_DeriveKey:
            return 1U << 2U;
        case C_WrapKey:
            return (1U << 2U) | (1U << 3U);
        default:
            return 0;
    }
}

// A bit for each argument that is the place of one new object's handle.
constexpr unsigned object_results(Function function) noexcept {
    using enum Function;
    switch (function) {
        case C_CreateObject:
            return 1U << 3U;
        case C_CopyObject:
        case C_GenerateKey:
            return 1U << 4U;
        case C_DeriveKey:
            return 1U << 5U;
        case C_GenerateKeyPair:
            return (1U << 6U) | (1U << 7U);
        case C_UnwrapKey:
            return 1U << 7U;
        default:
            return 0;
    }
}

}  // namespace tests
