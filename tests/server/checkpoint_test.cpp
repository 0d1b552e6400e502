#include "server/checkpoint.h"

#include <gtest/gtest.h>

#include "base/encoding.h"
#include "base/file.h"
#include "server/checkpoint_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/software_signer.h"
#include "tests/support/temporary_directory.h"

namespace {

using server::Checkpoint;
using server::NoteAlgorithm;
using tests::SoftwareSigner;

// The example of C2SP tlog-checkpoint.
constexpr std::string_view published =
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "\xE2\x80\x94 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
    "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

Checkpoint example() {
    Checkpoint checkpoint{"node-1/strongroom/kmsd", 1234, {}};
    checkpoint.root.fill(0xAB);
    return checkpoint;
}

TEST(Checkpoint, PublishedExampleIsReadAndWrittenBack) {
    const server::Note note = server::parse_note(published);
    const Checkpoint checkpoint = server::parse_checkpoint_text(note.text);
    EXPECT_EQ(checkpoint.origin, "example.com/behind-the-sofa");
    EXPECT_EQ(checkpoint.size, 20852163U);
    EXPECT_EQ(base::to_hex(checkpoint.root),
              "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62");
    EXPECT_EQ(server::checkpoint_text(checkpoint), note.text);
    ASSERT_EQ(note.signatures.size(), 1U);
    EXPECT_EQ(note.signatures[0].key_id, 0x033de0aeU);
    EXPECT_EQ(note.signatures[0].signature.size(), 64U);
}

TEST(Checkpoint, ItsHeadIsReadBackInOneSpellingOnly) {
    const Checkpoint checkpoint = server::parse_checkpoint_text(server::parse_note(published).text);
    const std::string head = server::checkpoint_head(checkpoint);
    EXPECT_EQ(head,
              "example.com/behind-the-sofa 20852163 CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=");
    EXPECT_EQ(server::parse_checkpoint_head(head), checkpoint);
    const std::string root = head.substr(head.rfind(' '));
    for (const std::string& other :
         {"a 020" + root, "a +20" + root, "a x" + root, "a " + root, " 20" + root, "20" + root,
          std::string("a 20 AAAA"), std::string()}) {
        EXPECT_FALSE(server::parse_checkpoint_head(other)) << other;
    }
}

// Of RFC 8032 7.1, test 1; the key id and the key's text as golang.org/x/mod/sumdb/note forms them:
// SHA-256("example.com/log" LF 0x01 key)[:4].
TEST(Checkpoint, KeyIdOfEd25519IsOverNameTypeAndKey) {
    const auto spki = base::parse_hex(
        "302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    const auto key = server::NoteKey::from_der(*spki);
    server::Sha256 sha256;
    const std::string hashed =
        "example.com/log\n\x01" + std::string(base::as_text(*spki).substr(12));
    const std::string verifier = key.verifier_key("example.com/log");
    EXPECT_EQ(verifier, "example.com/log+" + sha256.hex(hashed).substr(0, 8) +
                            "+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea");
}

TEST(Checkpoint, KeyIdOfEcdsaIsOverTheSubjectPublicKeyInfo) {
    SoftwareSigner signer(NoteAlgorithm::ecdsa_p256);
    server::Sha256 sha256;
    const auto spki = signer.public_key();
    const std::string id = sha256.hex(base::as_text(spki)).substr(0, 8);
    const auto key = signer.note_key();
    EXPECT_EQ(
        key.verifier_key("log"), "log+" + id + "+" + [&] {
            base::Bytes bytes{0x02};
            bytes.insert(bytes.end(), spki.begin(), spki.end());
            return base::to_base64(bytes);
        }());
    EXPECT_EQ(key.key_id("log"), key.key_id("another"));
}

class SignedCheckpoint : public testing::TestWithParam<NoteAlgorithm> {};

TEST_P(SignedCheckpoint, IsReadBackUnderItsKeyOnly) {
    SoftwareSigner signer(GetParam());
    SoftwareSigner other(GetParam());
    const std::string note = server::sign_checkpoint(example(), signer);
    EXPECT_EQ(server::open_checkpoint(note, signer.note_key()), example());
    EXPECT_ERROR(integrity_failure, server::open_checkpoint(note, other.note_key()));
    EXPECT_EQ(server::open_checkpoint(note, server::NoteKey::from_pem(signer.note_key().to_pem())),
              example());
}

TEST_P(SignedCheckpoint, EveryChangedBitIsRefused) {
    SoftwareSigner signer(GetParam());
    const auto key = signer.note_key();
    const std::string note = server::sign_checkpoint(example(), signer);
    for (std::size_t at = 0; at < note.size(); ++at) {
        for (const int bit : {0, 1, 5}) {
            std::string changed = note;
            changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
            EXPECT_ERROR(integrity_failure, server::open_checkpoint(changed, key));
        }
        EXPECT_ERROR(integrity_failure, server::open_checkpoint(note.substr(0, at), key));
    }
}

TEST_P(SignedCheckpoint, SignaturesOfOthersAreReadOver) {
    SoftwareSigner signer(GetParam());
    std::string note = server::sign_checkpoint(example(), signer);
    note += "\xE2\x80\x94 witness.example/w1 Az3grlgtzPICa5OS8npVmf1Myq8=\n";
    EXPECT_EQ(server::open_checkpoint(note, signer.note_key()), example());
}

TEST_P(SignedCheckpoint, SecondSignatureOfTheKeyMustVerifyToo) {
    SoftwareSigner signer(GetParam());
    const std::string note = server::sign_checkpoint(example(), signer);
    auto another = example();
    another.size += 1;
    const std::string wrong = server::sign_checkpoint(another, signer);
    EXPECT_ERROR(
        integrity_failure,
        server::open_checkpoint(note + wrong.substr(wrong.find("\n\n") + 2), signer.note_key()));
}

INSTANTIATE_TEST_SUITE_P(Algorithms, SignedCheckpoint,
                         testing::Values(NoteAlgorithm::ed25519, NoteAlgorithm::ecdsa_p256));

// Signs with one key and shows another.
class Impostor final : public server::CheckpointSigner {
public:
    base::Bytes public_key() override { return shown_.public_key(); }
    base::Bytes sign(std::string_view text) override { return used_.sign(text); }

private:
    SoftwareSigner shown_{NoteAlgorithm::ed25519};
    SoftwareSigner used_{NoteAlgorithm::ed25519};
};

TEST(Checkpoint, SignatureThatDoesNotVerifyIsNeverGivenOut) {
    Impostor signer;
    EXPECT_ERROR(internal, server::sign_checkpoint(example(), signer));
}

TEST(Checkpoint, OriginThatCanNotBeAKeyNameIsRefused) {
    SoftwareSigner signer(NoteAlgorithm::ed25519);
    for (const char* origin : {"", "a log", "a+log"}) {
        EXPECT_ERROR(invalid_argument, server::sign_checkpoint({origin, 1, {}}, signer));
    }
}

TEST(Checkpoint, MalformedNotesAndTextsAreRefused) {
    const std::string good(published);
    for (const std::string& bad :
         {std::string(), std::string("\n\n"), good.substr(0, good.size() - 1),
          good.substr(0, good.find("\n\n") + 1), "\x01" + good, "\xFF" + good,
          good + "\xE2\x80\x94 name\n", good + "\xE2\x80\x94 name !!!!\n",
          good + "- name AAAAAAA=\n", good + std::string(70'000, 'x') + "\n"}) {
        EXPECT_ERROR(invalid_argument, server::parse_note(bad));
    }
    for (const char* bad :
         {"", "origin\n", "origin\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
          "origin\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
          "origin\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==\n", "origin\n1\n!\n",
          "origin\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
          "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"}) {
        EXPECT_ERROR(invalid_argument, server::parse_checkpoint_text(bad));
    }
}

TEST(Checkpoint, KeysOfOtherKindsAreRefused) {
    EXPECT_ERROR(invalid_argument, server::NoteKey::from_pem("no key"));
    EXPECT_ERROR(invalid_argument, server::NoteKey::from_der(base::as_bytes("no key")));
}

// A lenient reader takes a BIT STRING with an unused bit for the same key, under another key id.
TEST(Checkpoint, AKeyIsSpelledInOneWay) {
    constexpr std::size_t unused_bits_from_end = 66;  // before the point of P-256
    base::Bytes spelled;
    do {  // the bit that is said to be unused is masked: it must be 0 already
        SoftwareSigner signer(NoteAlgorithm::ecdsa_p256);
        spelled = server::NoteKey::from_pem(signer.note_key().to_pem()).to_der();
    } while (spelled.back() % 2 != 0);
    EXPECT_EQ(server::NoteKey::from_der(spelled).to_der(), spelled);
    ASSERT_EQ(spelled.at(spelled.size() - unused_bits_from_end), 0);
    spelled.at(spelled.size() - unused_bits_from_end) = 1;
    EXPECT_ERROR(invalid_argument, server::NoteKey::from_der(spelled));
}

class CheckpointFileTest : public testing::Test {
protected:
    std::string read(std::string_view name) {
        return base::read_file(folder_ / name, 1024UL * 1024);
    }
    std::string history() { return read("checkpoints"); }
    std::string note(std::uint64_t size) {
        return server::sign_checkpoint({"log", size, {}}, signer_);
    }
    tests::TemporaryDirectory folder_;
    SoftwareSigner signer_{NoteAlgorithm::ed25519};
};

TEST_F(CheckpointFileTest, KeepsAllAndShowsTheLatest) {
    server::CheckpointFile file(folder_.path());
    EXPECT_EQ(file.last(), "");
    file.add(note(1));
    file.add(note(2));
    EXPECT_EQ(file.last(), note(2));
    EXPECT_EQ(read("checkpoint"), note(2));
    const auto all = server::split_notes(history());
    EXPECT_EQ(all.notes, (std::vector<std::string>{note(1), note(2)}));
    EXPECT_EQ(all.torn, "");
    EXPECT_EQ(server::CheckpointFile(folder_.path()).last(), note(2));
}

TEST_F(CheckpointFileTest, TornLastNoteIsCutWhereverItIsTorn) {
    const std::string whole = note(1) + "\n";
    const std::string second = note(2) + "\n";
    for (std::size_t size = 1; size < second.size(); ++size) {
        folder_.write("checkpoints", whole + second.substr(0, size));
        EXPECT_EQ(server::CheckpointFile(folder_.path()).last(), note(1)) << size;
        EXPECT_EQ(history(), whole) << size;
    }
}

TEST_F(CheckpointFileTest, ShortenedHistoryDoesNotHideALaterCheckpoint) {
    server::CheckpointFile(folder_.path()).add(note(7));
    folder_.write("checkpoints", note(3) + "\n");
    EXPECT_EQ(server::CheckpointFile(folder_.path()).last(), note(7));
    folder_.write("checkpoints", "");
    EXPECT_EQ(server::CheckpointFile(folder_.path()).last(), note(7));
}

TEST_F(CheckpointFileTest, FolderThatCanNotBeUsedIsRefused) {
    EXPECT_ERROR(failed_precondition, server::CheckpointFile(folder_ / "no" / "such"));
}

}  // namespace
