// Each code that tokens answer with, on each function that a Token calls: what the caller sees and
// what is done to heal, exactly, by the code's class. By the fault module over SoftHSM.
#include <gtest/gtest.h>

#include "hsm/pkcs11_error.h"
#include "tests/hsm/recovery_house.h"

namespace tests {
namespace {

using hsm::ErrorClass;
using Name = Function;
using std::chrono::milliseconds;

constexpr std::array repeatable_functions{
    Name::C_OpenSession,       Name::C_CloseSession,   Name::C_GetSessionInfo,
    Name::C_FindObjectsInit,   Name::C_FindObjects,    Name::C_FindObjectsFinal,
    Name::C_EncryptInit,       Name::C_Encrypt,        Name::C_DecryptInit,
    Name::C_Decrypt,           Name::C_SignInit,       Name::C_Sign,
    Name::C_GetAttributeValue, Name::C_GenerateRandom, Name::C_GetSlotList,
    Name::C_GetTokenInfo,      Name::C_Login,          Name::C_Initialize,
    Name::C_Finalize};
constexpr std::array making_functions{Name::C_GenerateKey, Name::C_GenerateKeyPair,
                                      Name::C_DestroyObject};

bool is_only_in_reconnects(Name function) {
    return function == Name::C_GetSlotList || function == Name::C_GetTokenInfo ||
           function == Name::C_Login || function == Name::C_Initialize ||
           function == Name::C_Finalize;
}
// A pool keeps its sessions open: only one that is dropped has it close one and open the next.
bool is_only_in_renewals(Name function) {
    return function == Name::C_OpenSession || function == Name::C_CloseSession;
}

std::string to_word(Name function) { return std::string(function_names.at(index_of(function))); }

constexpr std::array codes{CKR_ENCRYPTED_DATA_INVALID,
                           CKR_ENCRYPTED_DATA_LEN_RANGE,
                           CKR_DATA_INVALID,
                           CKR_MECHANISM_PARAM_INVALID,
                           CKR_GENERAL_ERROR,
                           CKR_FUNCTION_FAILED,
                           CKR_SESSION_HANDLE_INVALID,
                           CKR_SESSION_CLOSED,
                           CKR_OPERATION_ACTIVE,
                           CKR_OPERATION_NOT_INITIALIZED,
                           CKR_USER_NOT_LOGGED_IN,
                           CKR_KEY_HANDLE_INVALID,
                           CKR_OBJECT_HANDLE_INVALID,
                           CKR_DEVICE_ERROR,
                           CKR_DEVICE_REMOVED,
                           CKR_TOKEN_NOT_PRESENT,
                           CKR_CRYPTOKI_NOT_INITIALIZED,
                           CKR_SESSION_COUNT,
                           CKR_DEVICE_MEMORY,
                           CKR_HOST_MEMORY,
                           CKR_PIN_INCORRECT,
                           CKR_PIN_LOCKED,
                           CKR_PIN_EXPIRED,
                           CKR_TOKEN_WRITE_PROTECTED,
                           CKR_ARGUMENTS_BAD,
                           CKR_MECHANISM_INVALID,
                           CKR_KEY_FUNCTION_NOT_PERMITTED};

bool is_of_a_pin(CK_RV code) {
    return code == CKR_PIN_INCORRECT || code == CKR_PIN_LOCKED || code == CKR_PIN_EXPIRED;
}

// One function that answers with one code, in the place of the real call or behind it.
struct Cell {
    Name function;
    CK_RV code;
    bool is_after;

    ErrorClass error_class() const { return hsm::classify(code); }
    bool latches_the_pin() const { return function == Name::C_Login && is_of_a_pin(code); }
    bool is_of_a_decryption() const {
        return function == Name::C_DecryptInit || function == Name::C_Decrypt;
    }
    std::string text() const {
        return to_word(function) + (is_after ? " after" : " before") +
               " times=1 code=" + hsm::name_of(code);
    }
};

std::vector<Cell> cells_of(Name function) {
    std::vector<Cell> cells;
    for (const CK_RV code : codes) {
        for (const bool is_after : {false, true}) cells.push_back({function, code, is_after});
    }
    return cells;
}

// What the caller sees, and what it took.
struct Outcome {
    std::string seen;
    std::uint64_t initialisations = 0;
    std::uint64_t logins = 0;

    bool operator==(const Outcome& other) const {
        return seen == other.seen && initialisations == other.initialisations &&
               logins == other.logins;
    }
    friend std::ostream& operator<<(std::ostream& out, const Outcome& of) {
        return out << '"' << of.seen << "\", " << of.initialisations << " initialisations, "
                   << of.logins << " logins";
    }
};

// Where nothing is to be healed, or can be.
std::string unhealed(const Cell& cell) {
    switch (cell.error_class()) {
        case ErrorClass::caller_fault:
            return cell.is_of_a_decryption() ? "integrity_failure" : "internal";
        case ErrorClass::ambiguous:
            // The known answer says that the token is well: it was the data.
            return cell.is_of_a_decryption() ? "integrity_failure" : "unavailable";
        case ErrorClass::against_contract:
            return "internal";
        default:
            return "unavailable";
    }
}

// While the token serves.
Outcome in_service(const Cell& cell) {
    if (cell.function == Name::C_CloseSession) return {""};  // no answer that matters
    switch (cell.error_class()) {
        case ErrorClass::session_dead:
            // The session that the repetition asks for died too: that is enough of one cause.
            return {cell.function == Name::C_OpenSession ? "unavailable" : ""};
        case ErrorClass::handles_stale:
            return {""};
        case ErrorClass::login_lost:
            return {"", 0, 1};
        case ErrorClass::token_gone:
            return {"", 1, 1};
        default:
            return {unhealed(cell)};
    }
}

// While it is brought back.
Outcome in_reconnect(const Cell& cell) {
    switch (cell.function) {
        case Name::C_Finalize:
            // Its failure is passed over; but what was not finalised can't be initialised.
            return cell.is_after ? Outcome{"", 1, 1} : Outcome{"unavailable", 1, 0};
        case Name::C_GetTokenInfo:
            return {"unavailable", 1, 0};  // a token that does not say who it is is not there
        case Name::C_Login:
            return {unhealed(cell), 1, 1};
        default:
            return {unhealed(cell), 1, 0};
    }
}

class ErrorClasses : public RecoveryHouse {
protected:
    ErrorClasses() {
        config_.recovery = {milliseconds(0), milliseconds(0)};
        reopen();
    }

    // The functions that each use calls when nothing fails.
    std::map<std::string, std::set<Name>> functions_by_use() {
        EXPECT_EQ(use_all(), "");
        std::map<std::string, std::set<Name>> found;
        for (const auto& [name, use] : uses()) {
            faults_.forget_counts();
            EXPECT_EQ(use(), "") << name;
            for (const Name function : repeatable_functions)
                if (faults_.calls(function) > 0) found[name].insert(function);
        }
        return found;
    }

    // What the cell does to one use. A rule that nothing ran into would say nothing.
    Outcome strike(const Cell& cell, const std::function<std::string()>& use) {
        std::string rule = cell.text();
        // Lost in truth, and not only said to be: it is to be made again.
        if (cell.error_class() == ErrorClass::login_lost && !is_only_in_reconnects(cell.function) &&
            cell.function != Name::C_CloseSession)
            rule += " do=logout";
        if (is_only_in_reconnects(cell.function)) rule += "\nC_* nth=1 code=CKR_DEVICE_REMOVED";
        if (is_only_in_renewals(cell.function))
            rule += "\nC_*,!C_OpenSession,!C_CloseSession nth=1 code=CKR_SESSION_CLOSED";
        faults_.forget_counts();
        faults_.set(rule);
        const std::string seen = use();
        EXPECT_EQ(faults_.struck(std::size_t{0}), 1U) << "not struck: " << rule;
        return counted(seen);
    }
    Outcome counted(const std::string& seen) const {
        return {seen, faults_.calls(Name::C_Initialize), faults_.calls(Name::C_Login)};
    }

    // A PIN that was refused is not shown again, whatever is asked; for the next cell the token is
    // opened anew.
    void expect_latched(const Cell& cell) {
        faults_.forget_counts();
        EXPECT_EQ(seen_by([&] { open(); }), "unavailable") << cell.text();
        EXPECT_EQ(faults_.calls(Name::C_Login), 0U) << cell.text();
        reopen();
    }
};

// EVERY=1 is the whole table.
TEST_F(ErrorClasses, EachCodeOnEachFunctionIsAnsweredByItsClassAndHealsByItself) {
    const auto used = functions_by_use();
    const int every = rounds("EVERY", 31);
    int cells = 0;
    for (const Name function : repeatable_functions) {
        const bool is_provoked = is_only_in_reconnects(function) || is_only_in_renewals(function);
        int of_function = 0;
        for (const Cell& cell : cells_of(function)) {
            for (const auto& [name, use] : uses()) {
                if (!is_provoked && used.at(name).count(function) == 0) continue;
                ++of_function;
                if (++cells % every != 0) continue;
                const Outcome expected =
                    is_only_in_reconnects(function) ? in_reconnect(cell) : in_service(cell);
                EXPECT_EQ(strike(cell, use), expected) << cell.text() << ": " << name;
                faults_.clear();
                if (cell.latches_the_pin()) expect_latched(cell);
                ASSERT_EQ(in_time([&] { return use_all(); }), "") << cell.text() << ": " << name;
                if (is_only_in_reconnects(function)) continue;
                EXPECT_EQ(counted(expected.seen), expected) << cell.text() << ": healed later";
            }
        }
        EXPECT_GT(of_function, 0) << "no use of " << to_word(function);
    }
    EXPECT_GT(cells, 3000);
}

// What must not happen twice is not tried again: the next call heals what there is to heal.
TEST_F(ErrorClasses, AFailureToMakeAKeyIsSaidByItsClassAndOneToDestroyItHeals) {
    const int every = rounds("EVERY", 11);
    int cells = 0;
    for (const Name function : making_functions) {
        const auto kind =
            function == Name::C_GenerateKeyPair ? hsm::KeyKind::ecdsa_p256 : hsm::KeyKind::aes_256;
        for (const Cell& cell : cells_of(function)) {
            if (++cells % every != 0) continue;
            const auto id = hsm::KeyId::random();
            const auto make = [&] { token_->generate_key(id, "", kind, hsm::KeyProfile::sealed); };
            const bool destroys = function == Name::C_DestroyObject;
            if (destroys) make();
            Outcome expected{unhealed(cell)};
            if (destroys) {
                expected = in_service(cell);
                // The repetition finds that it was done.
                if (expected.seen.empty() && cell.is_after) expected.seen = "not_found";
            }
            EXPECT_EQ(strike(cell,
                             [&] {
                                 return destroys ? seen_by([&] { token_->destroy_key(id); })
                                                 : seen_by(make);
                             }),
                      expected)
                << cell.text();
            faults_.clear();
            // A key that was made is there, also where that was not said; and one that was not
            // destroyed.
            const bool is_left =
                destroys ? !cell.is_after && !expected.seen.empty() : cell.is_after;
            EXPECT_EQ(in_time([&] {
                          return seen_by([&] {
                              const bool is_there = token_->find_key(id).has_value();
                              if (is_there != is_left)
                                  throw std::logic_error("a key too many or too few");
                              if (is_there) token_->destroy_key(id);
                          });
                      }),
                      "")
                << cell.text();
            ASSERT_EQ(in_time([&] { return use_all(); }), "") << cell.text();
        }
    }
    EXPECT_EQ(cells, 3 * 2 * static_cast<int>(codes.size()));
}

}  // namespace
}  // namespace tests
