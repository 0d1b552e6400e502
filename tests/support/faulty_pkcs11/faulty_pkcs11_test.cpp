// What the fault module promises, over SoftHSM and with bare PKCS#11 calls.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <future>
#include <thread>

#include "tests/support/daemon.h"
#include "tests/support/faulty_pkcs11/fault_control.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using Bytes = std::vector<CK_BYTE>;
using Name = Function;

class FaultyModule : public testing::Test {
protected:
    FaultyModule() {
        void* handle = ::dlopen(faults_.library().c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) throw std::runtime_error("can't load the fault module");
        const auto get =
            reinterpret_cast<CK_C_GetFunctionList>(::dlsym(handle, "C_GetFunctionList"));
        if (get(&p11_) != CKR_OK) throw std::runtime_error("C_GetFunctionList");
        start();
    }
    ~FaultyModule() override {
        faults_.clear();
        p11_->C_Finalize(nullptr);
    }

    void start() {
        CK_C_INITIALIZE_ARGS arguments{};
        arguments.flags = CKF_OS_LOCKING_OK;
        require(p11_->C_Initialize(&arguments));
        // SoftHSM always has one more slot, for the next token.
        std::array<CK_SLOT_ID, 2> slots{};
        CK_ULONG count = slots.size();
        require(p11_->C_GetSlotList(CK_TRUE, slots.data(), &count));
        for (const CK_SLOT_ID slot : slots) {
            CK_TOKEN_INFO info{};
            require(p11_->C_GetTokenInfo(slot, &info));
            if ((info.flags & CKF_TOKEN_INITIALIZED) != 0) slot_ = slot;
        }
        session_ = open();
        require(log_in(session_));
    }
    CK_SESSION_HANDLE open() {
        CK_SESSION_HANDLE session = 0;
        require(p11_->C_OpenSession(slot_, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr,
                                    &session));
        return session;
    }
    CK_RV log_in(CK_SESSION_HANDLE session) {
        const auto pin = token_.pin().expose_text();
        return log_in(session, std::string(pin));
    }
    CK_RV log_in(CK_SESSION_HANDLE session, std::string pin) {
        return p11_->C_Login(session, CKU_USER, reinterpret_cast<CK_BYTE*>(pin.data()), pin.size());
    }
    CK_RV make_key(std::string id, CK_OBJECT_HANDLE& key) {
        CK_ULONG size = 32;
        CK_BBOOL yes = CK_TRUE;
        std::vector<CK_ATTRIBUTE> attributes{{CKA_VALUE_LEN, &size, sizeof size},
                                             {CKA_TOKEN, &yes, 1},
                                             {CKA_ENCRYPT, &yes, 1},
                                             {CKA_DECRYPT, &yes, 1},
                                             {CKA_ID, id.data(), id.size()}};
        CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
        return p11_->C_GenerateKey(session_, &mechanism, attributes.data(), attributes.size(),
                                   &key);
    }
    CK_OBJECT_HANDLE make_key(const std::string& id) {
        CK_OBJECT_HANDLE key = 0;
        require(make_key(id, key));
        return key;
    }
    CK_OBJECT_HANDLE find(std::string id) {
        CK_ATTRIBUTE wanted{CKA_ID, id.data(), id.size()};
        CK_OBJECT_HANDLE found = 0;
        CK_ULONG count = 0;
        require(p11_->C_FindObjectsInit(session_, &wanted, 1));
        require(p11_->C_FindObjects(session_, &found, 1, &count));
        require(p11_->C_FindObjectsFinal(session_));
        return count == 1 ? found : CK_INVALID_HANDLE;
    }
    std::string id_of(CK_OBJECT_HANDLE object) {
        std::string id(16, '\0');
        CK_ATTRIBUTE attribute{CKA_ID, id.data(), id.size()};
        require(p11_->C_GetAttributeValue(session_, object, &attribute, 1));
        id.resize(attribute.ulValueLen);
        return id;
    }

    // GCM with the parameters as they are; what comes out replaces `data`.
    CK_RV encrypt(CK_OBJECT_HANDLE key, CK_GCM_PARAMS& parameters, Bytes& data) {
        CK_MECHANISM mechanism{CKM_AES_GCM, &parameters, sizeof parameters};
        if (const CK_RV code = p11_->C_EncryptInit(session_, &mechanism, key); code != CKR_OK)
            return code;
        Bytes out(data.size() + 64);
        CK_ULONG size = out.size();
        const CK_RV code = p11_->C_Encrypt(session_, data.data(), data.size(), out.data(), &size);
        out.resize(code == CKR_OK ? size : 0);
        if (code == CKR_OK) data = out;
        return code;
    }
    CK_RV decrypt(CK_OBJECT_HANDLE key, CK_GCM_PARAMS& parameters, Bytes& data) {
        CK_MECHANISM mechanism{CKM_AES_GCM, &parameters, sizeof parameters};
        if (const CK_RV code = p11_->C_DecryptInit(session_, &mechanism, key); code != CKR_OK)
            return code;
        Bytes out(data.size() + 64);
        CK_ULONG size = out.size();
        const CK_RV code = p11_->C_Decrypt(session_, data.data(), data.size(), out.data(), &size);
        out.resize(code == CKR_OK ? size : 0);
        if (code == CKR_OK) data = out;
        return code;
    }
    static CK_GCM_PARAMS gcm(Bytes& iv) {
        CK_GCM_PARAMS parameters{};
        parameters.pIv = iv.empty() ? nullptr : iv.data();
        parameters.ulIvLen = iv.size();
        parameters.ulIvBits = iv.size() * 8;
        parameters.ulTagBits = 128;
        return parameters;
    }
    CK_RV random() {
        Bytes out(16);
        return p11_->C_GenerateRandom(session_, out.data(), out.size());
    }
    // The numbers, from 1, of the next `count` calls that fail.
    std::vector<int> failing(int count) {
        std::vector<int> failed;
        for (int i = 1; i <= count; ++i) {
            if (random() != CKR_OK) failed.push_back(i);
        }
        return failed;
    }
    static void require(CK_RV code) {
        if (code != CKR_OK) throw std::runtime_error("gave " + std::to_string(code));
    }

    SoftHsmToken token_;
    FaultControl faults_{token_.folder(), softhsm_library};
    CK_FUNCTION_LIST_PTR p11_ = nullptr;
    CK_SLOT_ID slot_ = 0;
    CK_SESSION_HANDLE session_ = 0;
};

TEST_F(FaultyModule, WithoutRulesEveryCallGoesThroughAndIsCounted) {
    Bytes iv(12, 7);
    auto parameters = gcm(iv);
    Bytes data{1, 2, 3};
    const auto key = make_key("a");
    ASSERT_EQ(encrypt(key, parameters, data), CKR_OK);
    ASSERT_EQ(decrypt(key, parameters, data), CKR_OK);
    EXPECT_EQ(data, (Bytes{1, 2, 3}));
    EXPECT_EQ(faults_.calls(Name::C_Encrypt), 1U);
    EXPECT_EQ(faults_.calls(Name::C_DecryptInit), 1U);
    EXPECT_EQ(faults_.calls(Name::C_Finalize), 0U);
    EXPECT_EQ(faults_.failed(Name::C_Encrypt), 0U);
    EXPECT_EQ(faults_.most_sessions(), 1U);
}

TEST_F(FaultyModule, EveryFunctionCanBeMadeToFail) {
    faults_.set("*,!C_GetFunctionList code=0x80000123");
    EXPECT_EQ(p11_->C_Finalize(nullptr), 0x80000123U);
    EXPECT_EQ(p11_->C_Initialize(nullptr), 0x80000123U);
    EXPECT_EQ(p11_->C_CloseAllSessions(slot_), 0x80000123U);
    EXPECT_EQ(p11_->C_SignInit(session_, nullptr, 0), 0x80000123U);
    EXPECT_EQ(p11_->C_WaitForSlotEvent(0, nullptr, nullptr), 0x80000123U);
    EXPECT_EQ(faults_.struck(std::size_t{0}), 5U);
    EXPECT_EQ(faults_.failed(Name::C_SignInit), 1U);
}

TEST_F(FaultyModule, BeforeMeansThatTheRealCallIsNotMadeAndAfterThatItIs) {
    const auto key = make_key("a");
    faults_.set("C_DestroyObject code=CKR_DEVICE_ERROR");
    EXPECT_EQ(p11_->C_DestroyObject(session_, key), CKR_DEVICE_ERROR);
    EXPECT_NE(find("a"), CK_INVALID_HANDLE);
    faults_.set("C_DestroyObject after code=CKR_DEVICE_ERROR");
    EXPECT_EQ(p11_->C_DestroyObject(session_, key), CKR_DEVICE_ERROR);
    EXPECT_EQ(find("a"), CK_INVALID_HANDLE);
}

TEST_F(FaultyModule, ARuleStrikesTheCallsThatItChoosesAndNoOthers) {
    const std::string code = " code=CKR_HOST_MEMORY";
    faults_.set("C_GenerateRandom nth=3" + code);
    EXPECT_EQ(failing(6), std::vector{3});
    faults_.set("C_GenerateRandom skip=2 times=2" + code);
    EXPECT_EQ(failing(6), (std::vector{3, 4}));
    faults_.set("C_GenerateRandom every=3" + code);
    EXPECT_EQ(failing(8), (std::vector{1, 4, 7}));
    faults_.set("C_*,!C_GenerateRandom" + code);
    EXPECT_TRUE(failing(3).empty());
}

TEST_F(FaultyModule, ChanceIsRepeatableFromItsSeed) {
    const auto draw = [&](const std::string& seed) {
        faults_.set("C_GenerateRandom probability=0.2 code=CKR_HOST_MEMORY seed=" + seed);
        return failing(1000);
    };
    const auto first = draw("1");
    EXPECT_GT(first.size(), 130U);
    EXPECT_LT(first.size(), 270U);
    EXPECT_EQ(draw("1"), first);
    EXPECT_NE(draw("2"), first);
}

TEST_F(FaultyModule, ADelayTakesItsTimeAndAHungCallGoesOnWhenTheRulesChange) {
    faults_.set("C_GenerateRandom delay=30");
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_EQ(random(), CKR_OK);
    EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(30));

    faults_.set("C_GenerateRandom hang");
    auto hung = std::async(std::launch::async, [&] { return random(); });
    while (faults_.hanging() == 0) std::this_thread::yield();
    EXPECT_EQ(p11_->C_GetInfo(std::make_unique<CK_INFO>().get()), CKR_OK) << "others go on";
    EXPECT_EQ(hung.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
    faults_.clear();
    EXPECT_EQ(hung.get(), CKR_OK);
    EXPECT_EQ(faults_.hanging(), 0U);
}

TEST_F(FaultyModule, OutputsAreChangedAsTold) {
    const auto draw = [&](const std::string& rule) {
        faults_.set("C_GenerateRandom " + rule);
        Bytes out(16);
        require(p11_->C_GenerateRandom(session_, out.data(), out.size()));
        return out;
    };
    EXPECT_EQ(draw("fill=0"), Bytes(16, 0));
    auto flipped = Bytes(16, 8);
    flipped[0] ^= 1U;
    EXPECT_EQ(draw("fill=8 flip=first"), flipped);
    flipped = Bytes(16, 8);
    flipped[14] ^= 1U;
    EXPECT_EQ(draw("fill=8 flip=-2"), flipped);
    flipped = Bytes(16, 8);
    flipped[15] ^= 1U;
    EXPECT_EQ(draw("fill=8 flip=last"), flipped);
    flipped = Bytes(16, 8);
    flipped[3] ^= 1U;
    EXPECT_EQ(draw("fill=8 flip=3"), flipped);
    EXPECT_EQ(draw("fill=8 flip=16"), Bytes(16, 8)) << "there is no such byte";
    EXPECT_NE(draw("fill=8 flip=random"), Bytes(16, 8));

    Bytes iv(12, 7);
    auto parameters = gcm(iv);
    Bytes data(10, 1);
    const auto key = make_key("a");
    faults_.set("C_Encrypt truncate=1");
    ASSERT_EQ(encrypt(key, parameters, data), CKR_OK);
    EXPECT_EQ(data.size(), 25U);
}

TEST_F(FaultyModule, TheLoginAndTheSessionsCanBeTakenAway) {
    faults_.set("C_GenerateRandom nth=1 do=logout");
    EXPECT_EQ(random(), CKR_OK) << "the session is still there";
    CK_SESSION_INFO info{};
    require(p11_->C_GetSessionInfo(session_, &info));
    EXPECT_EQ(info.state, CK_STATE{CKS_RW_PUBLIC_SESSION});
    faults_.set("C_GenerateRandom nth=1 do=close_sessions");
    EXPECT_EQ(random(), CKR_SESSION_HANDLE_INVALID);
    EXPECT_EQ(p11_->C_GetSessionInfo(session_, &info), CKR_SESSION_HANDLE_INVALID);
}

TEST_F(FaultyModule, HandlesCanBeMadeInvalidUntilTheyAreFoundAgain) {
    const auto key = make_key("a");
    faults_.set("C_GenerateRandom nth=1 do=invalidate_handles");
    EXPECT_EQ(random(), CKR_OK);
    Bytes iv(12, 7);
    auto parameters = gcm(iv);
    Bytes data{1};
    EXPECT_EQ(encrypt(key, parameters, data), CKR_KEY_HANDLE_INVALID);
    EXPECT_EQ(p11_->C_DestroyObject(session_, key), CKR_OBJECT_HANDLE_INVALID);
    EXPECT_EQ(encrypt(find("a"), parameters, data), CKR_OK);
}

TEST_F(FaultyModule, PermutedHandlesDenoteOtherKeysAndASearchFindsTheRightOnes) {
    const auto a = make_key("a");
    const auto b = make_key("b");
    faults_.set("C_GenerateRandom do=permute_handles");
    EXPECT_EQ(random(), CKR_OK);
    EXPECT_EQ(id_of(a), "b");
    EXPECT_EQ(id_of(b), "a");
    EXPECT_EQ(id_of(find("a")), "a");
    EXPECT_EQ(id_of(find("b")), "b");
    EXPECT_EQ(random(), CKR_OK);
    EXPECT_EQ(id_of(a), "a") << "twice is as before, with two keys";
}

TEST_F(FaultyModule, PermutedFindsGiveAnotherKeysHandleUntilTheModuleStartsAnew) {
    const auto a = make_key("a");
    const auto b = make_key("b");
    faults_.set("C_GenerateRandom do=permute_finds");
    EXPECT_EQ(random(), CKR_OK);
    EXPECT_EQ(id_of(a), "a") << "what was found before is as it was";
    EXPECT_EQ(find("a"), b);
    EXPECT_EQ(id_of(find("a")), "b");
    require(p11_->C_Finalize(nullptr));
    start();
    EXPECT_EQ(id_of(find("a")), "a");
}

TEST_F(FaultyModule, AwayMeansNoTokenAndNoSessionsWhenItIsBack) {
    faults_.set("behave away");
    EXPECT_EQ(random(), CKR_DEVICE_REMOVED);
    CK_ULONG count = 7;
    EXPECT_EQ(p11_->C_GetSlotList(CK_TRUE, nullptr, &count), CKR_OK);
    EXPECT_EQ(count, 0U);
    CK_TOKEN_INFO info{};
    EXPECT_EQ(p11_->C_GetTokenInfo(slot_, &info), CKR_TOKEN_NOT_PRESENT);
    EXPECT_EQ(p11_->C_Finalize(nullptr), CKR_OK);
    faults_.clear();
    start();
    EXPECT_EQ(random(), CKR_OK);
}

TEST_F(FaultyModule, StrictIvBitsRefusesWhatSoftHsmPasses) {
    const auto key = make_key("a");
    Bytes iv(12, 7);
    Bytes data{1};
    auto parameters = gcm(iv);
    parameters.ulIvBits = 0;
    EXPECT_EQ(encrypt(key, parameters, data), CKR_OK);
    faults_.set("behave strict_iv_bits");
    EXPECT_EQ(encrypt(key, parameters, data), CKR_MECHANISM_PARAM_INVALID);
    EXPECT_EQ(decrypt(key, parameters, data), CKR_MECHANISM_PARAM_INVALID);
    parameters.ulIvBits = 96;
    EXPECT_EQ(decrypt(key, parameters, data), CKR_OK);
}

TEST_F(FaultyModule, AModuleThatMakesTheIvWritesItOverTheZeros) {
    faults_.set("behave iv=zeroed");
    const auto key = make_key("a");
    Bytes iv(12, 7);
    auto parameters = gcm(iv);
    Bytes data{1, 2, 3};
    EXPECT_EQ(encrypt(key, parameters, data), CKR_MECHANISM_PARAM_INVALID);
    iv.assign(12, 0);
    parameters = gcm(iv);
    ASSERT_EQ(encrypt(key, parameters, data), CKR_OK);
    EXPECT_NE(iv, Bytes(12, 0));
    ASSERT_EQ(decrypt(key, parameters, data), CKR_OK);
    EXPECT_EQ(data, (Bytes{1, 2, 3}));
}

TEST_F(FaultyModule, AModuleThatMakesTheIvPutsItBehindTheCiphertext) {
    faults_.set("behave iv=appended");
    const auto key = make_key("a");
    Bytes iv(12, 0);
    auto parameters = gcm(iv);
    Bytes aad{9};
    Bytes data{1, 2, 3};
    EXPECT_EQ(encrypt(key, parameters, data), CKR_MECHANISM_PARAM_INVALID);
    Bytes none;
    parameters = gcm(none);
    parameters.pAAD = aad.data();
    parameters.ulAADLen = 1;
    ASSERT_EQ(encrypt(key, parameters, data), CKR_OK);
    EXPECT_EQ(data.size(), 3U + 16U + 12U);
    Bytes standard(data.begin(), data.end() - 12);
    ASSERT_EQ(decrypt(key, parameters, data), CKR_OK);
    EXPECT_EQ(data, (Bytes{1, 2, 3}));
}

TEST_F(FaultyModule, SessionsAreCountedAndDieIdle) {
    faults_.set("behave max_sessions=3");
    const auto second = open();
    open();
    CK_SESSION_HANDLE fourth = 0;
    EXPECT_EQ(p11_->C_OpenSession(slot_, CKF_SERIAL_SESSION, nullptr, nullptr, &fourth),
              CKR_SESSION_COUNT);
    require(p11_->C_CloseSession(second));
    EXPECT_EQ(p11_->C_OpenSession(slot_, CKF_SERIAL_SESSION, nullptr, nullptr, &fourth), CKR_OK);
    EXPECT_EQ(faults_.most_sessions(), 3U);
    faults_.set("behave session_idle=1\nC_GenerateRandom delay=20");
    EXPECT_EQ(random(), CKR_SESSION_HANDLE_INVALID);
}

TEST_F(FaultyModule, APinLocksAfterSoManyWrongOnesAlsoAcrossAStart) {
    faults_.set("behave pin_attempts=3");
    require(p11_->C_Logout(session_));
    CK_TOKEN_INFO info{};
    for (const CK_FLAGS flags : {CK_FLAGS{CKF_USER_PIN_COUNT_LOW},
                                 CK_FLAGS{CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY}}) {
        EXPECT_EQ(log_in(session_, "wrong one"), CKR_PIN_INCORRECT);
        require(p11_->C_GetTokenInfo(slot_, &info));
        EXPECT_EQ(info.flags & (flags | CKF_USER_PIN_LOCKED), flags);
    }
    EXPECT_EQ(log_in(session_, "wrong one"), CKR_PIN_INCORRECT);
    EXPECT_EQ(log_in(session_), CKR_PIN_LOCKED);
    require(p11_->C_Finalize(nullptr));
    EXPECT_THROW(start(), std::runtime_error);
    require(p11_->C_GetTokenInfo(slot_, &info));
    EXPECT_NE(info.flags & CKF_USER_PIN_LOCKED, 0U);
}

TEST_F(FaultyModule, LimitsOfVendorsHold) {
    faults_.set("behave max_data=16 unique_ids no_derive");
    const auto key = make_key("a");
    CK_OBJECT_HANDLE second = 0;
    EXPECT_EQ(make_key("a", second), CKR_ATTRIBUTE_VALUE_INVALID);
    EXPECT_EQ(make_key("b", second), CKR_OK);
    Bytes iv(12, 7);
    auto parameters = gcm(iv);
    Bytes data(17, 1);
    EXPECT_EQ(encrypt(key, parameters, data), CKR_DATA_LEN_RANGE);
    EXPECT_EQ(p11_->C_DeriveKey(session_, nullptr, key, nullptr, 0, &second),
              CKR_FUNCTION_NOT_SUPPORTED);
    for (const CK_BBOOL derives : {CK_BBOOL{CK_FALSE}, CK_BBOOL{CK_TRUE}}) {
        CK_BBOOL flag = derives;
        CK_ULONG length = 32;
        std::array<CK_ATTRIBUTE, 2> attributes{CK_ATTRIBUTE{CKA_VALUE_LEN, &length, sizeof length},
                                               CK_ATTRIBUTE{CKA_DERIVE, &flag, sizeof flag}};
        CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
        const CK_RV code = p11_->C_GenerateKey(session_, &mechanism, attributes.data(),
                                               attributes.size(), &second);
        EXPECT_EQ(code != CKR_OK, derives == CK_TRUE) << code;
    }
}

TEST_F(FaultyModule, ACrashEndsTheProcessAndIsCounted) {
    faults_.set("C_GenerateRandom nth=2 do=crash");
    EXPECT_EQ(random(), CKR_OK);
    EXPECT_EXIT(random(), testing::KilledBySignal(SIGABRT), "");
    EXPECT_EQ(faults_.struck(std::size_t{0}), 1U);
    EXPECT_EQ(random(), CKR_OK) << "it struck the second call, of whichever process";
}

TEST_F(FaultyModule, AMistakeInARuleIsNamedAndNeverLooksLikeNoFault) {
    for (const std::string_view wrong :
         {"C_Nothing code=CKR_HOST_MEMORY", "C_Sign code=CKR_NOTHING", "C_Sign nth=x",
          "C_Sign probability=2", "C_Sign every=0", "C_Sign hang=1", "C_Sign unknown",
          "C_Sign do=nothing", "behave unknown", "behave iv=none", "behave max_sessions"}) {
        EXPECT_THROW(faults_.set(std::string("\n") + std::string(wrong)), std::runtime_error);
        EXPECT_THROW(parse_rules(wrong), std::runtime_error) << wrong;
    }
    EXPECT_EQ(random(), CKR_OK);
    std::ofstream(faults_.control_folder() / "rules") << "C_Sign unknown\n";
    EXPECT_EQ(random(), CKR_FUNCTION_REJECTED);
}

TEST_F(FaultyModule, PythonControlsAndCountsTheSame) {
    const auto run = [&](std::vector<std::string> words) {
        DaemonOptions script;
        script.program = "/usr/bin/python3";
        script.arguments = {"-B", FAULTY_PKCS11_SCRIPT, faults_.control_folder().string()};
        script.arguments.insert(script.arguments.end(), words.begin(), words.end());
        script.keep_user = true;
        Daemon process(script);
        EXPECT_EQ(process.wait_exit(), 0) << process.output();
        return process.output();
    };
    run({"set", "C_WaitForSlotEvent code=CKR_NO_EVENT", "C_GenerateRandom code=CKR_RANDOM_NO_RNG"});
    EXPECT_EQ(random(), CKR_RANDOM_NO_RNG);
    EXPECT_EQ(p11_->C_WaitForSlotEvent(0, nullptr, nullptr), CKR_NO_EVENT);
    const std::string counts = run({"counts"});
    EXPECT_NE(counts.find("C_WaitForSlotEvent                  1 calls            1 struck"),
              std::string::npos)
        << counts;
    run({"clear"});
    EXPECT_EQ(random(), CKR_OK);
}

}  // namespace
}  // namespace tests
