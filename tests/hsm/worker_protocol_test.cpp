// What crosses between kmsd and its token worker: one spelling of everything, and every other
// refused.
#include <gtest/gtest.h>

#include <sys/socket.h>

#include <thread>

#include "hsm/frame_socket.h"
#include "hsm/worker_fields.h"
#include "hsm/worker_service.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

using base::as_bytes;
using hsm::KeyId;
using hsm::KeyKind;

constexpr std::uint32_t some_number = 0x01020304;

base::ByteView body_of(const hsm::WireBytes& frame) {
    return base::ByteView(frame).subspan(hsm::frame_length_bytes);
}

// One of each operation.
std::vector<hsm::WorkerRequest> all_requests() {
    const KeyId key = KeyId::random();
    const auto aad = as_bytes("aad");
    const auto text = as_bytes("text");
    const hsm::Iv iv{1, 2, 3};
    return {
        hsm::SupportedKindsRequest{},
        hsm::GenerateKeyRequest{key, "label", KeyKind::ed25519, hsm::KeyProfile::sealed},
        hsm::MakeDurableRequest{key},
        hsm::FindKeyRequest{key},
        hsm::ListKeysRequest{},
        hsm::DestroyKeyRequest{key},
        hsm::EncryptRequest{key, aad, text},
        hsm::EncryptManyRequest{{{key, aad, text}, {key, {}, {}}}},
        hsm::DecryptRequest{key, iv, aad, text},
        hsm::DecryptManyRequest{{{key, iv, aad, text}}},
        hsm::PublicKeyRequest{key},
        hsm::SignRequest{key, KeyKind::rsa_pss_4096, text},
        hsm::VerifyRequest{key, KeyKind::ecdsa_p256, text, aad},
        hsm::MacRequest{key, text},
        hsm::VerifyMacRequest{key, text, aad},
        hsm::RandomRequest{32},
        hsm::CheckRequest{},
        hsm::HoldToRequest{
            key, {hsm::KeyUse::makes_macs, {iv, {'m', 'a', 'c'}}, {'t', 'e', 'x', 't'}, {'a'}}}};
}

hsm::WireBytes frame_of(const hsm::WorkerRequest& request) {
    hsm::WireBytes frame;
    hsm::write_request(frame, some_number, request);
    return frame;
}

TEST(WorkerProtocol, EveryRequestIsReadAsItWasWritten) {
    const auto requests = all_requests();
    ASSERT_EQ(requests.size(), std::variant_size_v<hsm::WorkerRequest>);
    for (std::size_t i = 0; i < requests.size(); ++i) {
        ASSERT_EQ(requests[i].index(), i);
        const auto frame = frame_of(requests[i]);
        const auto read = hsm::read_request(body_of(frame));
        EXPECT_EQ(read.number, some_number);
        ASSERT_EQ(read.request.index(), i);
        EXPECT_EQ(frame_of(read.request), frame);
    }
}

TEST(WorkerProtocol, EveryTruncationAndExtensionOfARequestIsRefused) {
    for (const auto& request : all_requests()) {
        const auto frame = frame_of(request);
        const base::ByteView body = body_of(frame);
        for (std::size_t size = 0; size < body.size(); ++size) {
            EXPECT_ERROR(internal, static_cast<void>(hsm::read_request(body.first(size))));
        }
        base::Bytes longer = base::to_bytes(body);
        longer.push_back(0);
        EXPECT_ERROR(internal, static_cast<void>(hsm::read_request(longer)));
    }
}

TEST(WorkerProtocol, WhatIsNoOperationIsRefused) {
    const base::Bytes unknown{0, 0, 0, 1, std::variant_size_v<hsm::WorkerRequest>};
    EXPECT_ERROR(internal, static_cast<void>(hsm::read_request(unknown)));
}

TEST(WorkerProtocol, AValueOutsideOfItsEnumerationIsRefused) {
    for (const std::size_t from_end : {1U, 2U}) {  // the profile, and the kind before it
        auto frame = frame_of(hsm::GenerateKeyRequest{KeyId::random(), "", KeyKind::aes_256,
                                                      hsm::KeyProfile::sealed});
        frame[frame.size() - from_end] = 200;
        EXPECT_ERROR(internal, static_cast<void>(hsm::read_request(body_of(frame))));
    }
}

TEST(WorkerProtocol, ACountOfMoreThanThereIsIsRefused) {
    auto frame = frame_of(hsm::DecryptManyRequest{{{KeyId::random(), {}, {}, {}}}});
    frame[hsm::frame_length_bytes + 5] = 0xff;
    EXPECT_ERROR(internal, static_cast<void>(hsm::read_request(body_of(frame))));
}

TEST(WorkerProtocol, MoreThanAFrameHoldsIsNotWritten) {
    const base::Bytes large(hsm::max_frame_bytes);
    hsm::WireBytes frame;
    EXPECT_ERROR(invalid_argument,
                 hsm::write_request(frame, 0, hsm::MacRequest{KeyId::random(), large}));
}

TEST(WorkerProtocol, EveryErrorCrossesWithCodeMessageAndDetail) {
    for (int code = 0; code <= static_cast<int>(base::ErrorCode::header_fields_too_large); ++code) {
        const base::Error error(static_cast<base::ErrorCode>(code), "message", "detail");
        hsm::WireBytes frame;
        hsm::write_refusal(frame, {some_number, 3, {}, true}, error);
        hsm::WireReader reader(body_of(frame));
        const hsm::AnswerHead head = hsm::read_head(reader);
        EXPECT_EQ(head.number, some_number);
        EXPECT_EQ(head.logins, 3U);
        EXPECT_TRUE(head.is_pin_refused);
        ASSERT_EQ(head.error, error.code());
        const base::Error read = hsm::read_refusal(reader, *head.error);
        EXPECT_EQ(read.code(), error.code());
        EXPECT_EQ(read.message(), "message");
        EXPECT_EQ(read.detail(), "detail");
    }
}

TEST(WorkerProtocol, AnErrorCodeThatDoesNotExistIsRefused) {
    const base::Bytes head{0, 0, 0, 1, 0, 0, 0, 1, 19, 0};
    hsm::WireReader reader(head);
    EXPECT_ERROR(internal, static_cast<void>(hsm::read_head(reader)));
}

TEST(WorkerProtocol, AKeysAttributesCrossWhole) {
    FakeToken token;
    const KeyId id = KeyId::random();
    for (const KeyKind kind : {KeyKind::aes_256, KeyKind::ed25519}) {
        const auto made = token.generate_key(kind == KeyKind::aes_256 ? id : KeyId::random(),
                                             "label", kind, hsm::KeyProfile::sealed);
        hsm::WireBytes frame;
        hsm::write_answer(frame, {}, made);
        hsm::WireReader reader(body_of(frame));
        static_cast<void>(hsm::read_head(reader));
        const auto read = hsm::read_answer<hsm::KeyAttributes>(reader);
        EXPECT_TRUE(hsm::differences_from_profile(read, hsm::KeyProfile::sealed, kind).empty());
        hsm::WireBytes again;
        hsm::write_answer(again, {}, read);
        EXPECT_EQ(frame, again);
    }
}

TEST(WorkerProtocol, AnOpeningOfAnotherVersionSaysSo) {
    hsm::WorkerOpening opening;
    opening.protocol = hsm::worker_protocol_version + 1;
    hsm::WireBytes frame;
    hsm::write_opening(frame, 0, opening);
    std::uint32_t number = 0;
    EXPECT_ERROR_SAYING(failed_precondition, "different versions",
                        static_cast<void>(hsm::read_opening(body_of(frame), number)));
}

TEST(WorkerService, ARefusalOfTheTokenIsTheAnswer) {
    FakeToken token;
    hsm::WorkerMarks marks;
    hsm::WireBytes answer;
    const auto request = frame_of(hsm::DestroyKeyRequest{KeyId::random()});
    hsm::answer_request(body_of(request), token, marks, answer);
    hsm::WireReader reader(body_of(answer));
    EXPECT_EQ(hsm::read_head(reader).error, base::ErrorCode::not_found);
}

TEST(WorkerService, MoreRandomBytesThanARequestHasAreRefused) {
    FakeToken token;
    hsm::WorkerMarks marks;
    hsm::WireBytes answer;
    const auto request = frame_of(hsm::RandomRequest{hsm::max_random_bytes + 1});
    hsm::answer_request(body_of(request), token, marks, answer);
    hsm::WireReader reader(body_of(answer));
    EXPECT_EQ(hsm::read_head(reader).error, base::ErrorCode::internal);
}

class Frames : public testing::Test {
protected:
    hsm::SocketPair pair_ = hsm::make_socket_pair();
    hsm::FrameSocket ours_{std::move(pair_.ours)};

    void put(base::ByteView bytes) const {
        ASSERT_EQ(::send(pair_.theirs.get(), bytes.data(), bytes.size(), 0),
                  static_cast<ssize_t>(bytes.size()));
    }
};

TEST_F(Frames, AFrameInPiecesIsOneFrame) {
    const auto frame = frame_of(hsm::MacRequest{KeyId::random(), base::Bytes(100'000, 7)});
    std::thread peer([&] {
        for (std::size_t at = 0; at < frame.size(); at += 999) {
            put(base::ByteView(frame).subspan(at, std::min<std::size_t>(999, frame.size() - at)));
        }
    });
    EXPECT_EQ(ours_.receive(hsm::endless), hsm::Transfer::done);
    peer.join();
    EXPECT_TRUE(std::ranges::equal(ours_.incoming(), body_of(frame)));
}

TEST_F(Frames, ALengthBeyondTheBoundIsRefused) {
    put(base::Bytes{0x7f, 0xff, 0xff, 0xff});
    EXPECT_ERROR(internal, static_cast<void>(ours_.receive(hsm::endless)));
}

TEST_F(Frames, MoreThanOneFrameAtATimeIsRefused) {
    put(base::Bytes{0, 0, 0, 1, 42, 0});
    EXPECT_ERROR(internal, static_cast<void>(ours_.receive(hsm::endless)));
}

TEST_F(Frames, SilenceAndHalfAFrameAreLate) {
    using namespace std::chrono_literals;
    EXPECT_EQ(ours_.receive(1ms), hsm::Transfer::late);
    put(base::Bytes{0, 0, 0, 9, 1});
    EXPECT_EQ(ours_.receive(1ms), hsm::Transfer::late);
}

TEST_F(Frames, AFrameThatNobodyTakesIsLate) {
    using namespace std::chrono_literals;
    ours_.outgoing().assign(hsm::max_frame_bytes, 1);
    EXPECT_EQ(ours_.send(1ms), hsm::Transfer::late);
}

TEST_F(Frames, AClosedPeerIsToldFromSilence) {
    put(base::Bytes{0, 0, 0, 9, 1});
    pair_.theirs.close();
    EXPECT_EQ(ours_.receive(hsm::endless), hsm::Transfer::closed);
    ours_.outgoing().assign(1, 1);
    EXPECT_EQ(ours_.send(hsm::endless), hsm::Transfer::closed);
}

TEST_F(Frames, WhatWasSentAndForgottenIsWiped) {
    ours_.outgoing().assign(64, 0x5a);
    const std::uint8_t* sent = ours_.outgoing().data();
    ASSERT_EQ(ours_.send(hsm::endless), hsm::Transfer::done);
    EXPECT_EQ(std::count(sent, sent + 64, 0), 64);
    put(base::Bytes{0, 0, 0, 3, 1, 2, 3});
    ASSERT_EQ(ours_.receive(hsm::endless), hsm::Transfer::done);
    const std::uint8_t* received = ours_.incoming().data();
    ours_.forget();
    EXPECT_EQ(std::count(received, received + 3, 0), 3);
}

TEST_F(Frames, ADescriptorIsPassedOn) {
    hsm::SocketPair passed = hsm::make_socket_pair();
    ASSERT_TRUE(hsm::pass_descriptor(ours_.descriptor(), passed.theirs.get()));
    const hsm::Descriptor received = hsm::receive_descriptor(pair_.theirs.get());
    ASSERT_GE(received.get(), 0);
    EXPECT_EQ(::send(received.get(), "x", 1, 0), 1);
    char byte = 0;
    EXPECT_EQ(::recv(passed.ours.get(), &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'x');
}

}  // namespace
}  // namespace tests
