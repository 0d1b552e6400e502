// The commands of kmsctl that govern keys and sign. What it signs is judged by the openssl command.
#include "tests/kms/kmsctl_commands.h"
#include "base/encoding.h"
#include "base/file.h"

namespace tests {
namespace {

TEST_F(KmsctlCommands, OpensslVerifiesWhatKeysOfTheTokenSign) {
    const auto message = files_.write("message", "what is signed\n").string();
    const std::vector<std::pair<std::string, Arguments>> kinds{
        {"ecdsa_p256", {"dgst", "-sha256"}},
        {"ecdsa_p384", {"dgst", "-sha384"}},
        {"rsa_pss_3072",
         {"dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"}},
        {"ed25519", {"pkeyutl", "-verify", "-rawin"}}};
    for (const auto& [kind, judge] : kinds) {
        SCOPED_TRACE(kind);
        const std::string alias = "alias/" + kind;
        make_key(kind, kind);
        must({"sign", alias, "--in", message, "--out", file(kind + ".sig")});
        must({"public-key", alias, "--out", file(kind + ".pem")});
        Arguments verify = judge;
        const bool is_pkeyutl = judge.front() == "pkeyutl";
        const Arguments rest = is_pkeyutl ? Arguments{"-pubin",
                                                      "-inkey",
                                                      file(kind + ".pem"),
                                                      "-sigfile",
                                                      file(kind + ".sig"),
                                                      "-in",
                                                      message}
                                          : Arguments{"-verify", file(kind + ".pem"), "-signature",
                                                      file(kind + ".sig"), message};
        verify.insert(verify.end(), rest.begin(), rest.end());
        const auto judged = openssl(verify);
        EXPECT_EQ(judged.exit_code, 0) << judged.output;
        EXPECT_TRUE(contains(judged.output, "Verified")) << judged.output;
        const auto valid =
            must({"verify", alias, "--in", message, "--signature", file(kind + ".sig")});
        EXPECT_TRUE(contains(valid.output, "is valid")) << valid.output;
        const auto other =
            ctl({"verify", alias, "--in", file(kind + ".pem"), "--signature", file(kind + ".sig")});
        EXPECT_EQ(other.exit_code, 1) << other.output;
        EXPECT_TRUE(contains(other.output, "NOT valid")) << other.output;
    }
}

TEST_F(KmsctlCommands, MacsAreMadeAndVerifiedInBase64Too) {
    make_key("m", "hmac_sha_256");
    const auto message = files_.write("message", "text").string();
    must({"mac", "alias/m", "--in", message, "--out", file("mac")});
    EXPECT_EQ(base::read_file(file("mac"), 100).size(), 32U);
    must({"verify-mac", "alias/m", "--in", message, "--mac", file("mac")});
    const auto line = must({"mac", "alias/m", "--in", message, "--base64"}).output;
    EXPECT_EQ(line.size(), 45U) << line;
    const auto in_base64 = files_.write("mac.b64", line).string();
    must({"verify-mac", "alias/m", "--in", message, "--mac", in_base64, "--base64"});
    const auto as_json = ask({"mac", "alias/m", "--in", message});
    EXPECT_EQ(text(as_json, "algorithm"), "HMAC_SHA_256");
    EXPECT_EQ(ctl({"verify-mac", "alias/m", "--in", file("mac"), "--mac", file("mac")}).exit_code,
              1);
}

TEST_F(KmsctlCommands, DataKeysOfSeveralContextsAreOpenedAndRewrappedInOneCall) {
    make_key("a", "aes_256");
    std::string lines;
    for (const std::string owner : {"1", "2", "3"}) {
        must({"data-key", "create", "alias/a", "--context", "o=" + owner, "--out",
              file("w" + owner), "--plaintext-out", file("p" + owner)});
        std::string line(base::read_file(file("w" + owner), 1000));
        line.pop_back();
        lines += line + (owner == "3" ? "\n" : R"( {"o":")" + owner + "\"}\n");
    }
    const auto all = files_.write("all", lines).string();
    const auto plain = [&](const std::string& name) { return base::read_file(file(name), 1000); };
    must({"data-key", "unwrap", "--context", "o=3", "--in", all, "--plaintext-out", file("p")});
    EXPECT_EQ(plain("p"), plain("p1") + plain("p2") + plain("p3"));
    must({"data-key", "rewrap", "--context", "o=3", "--in", all, "--out", file("n"), "--to-context",
          "o=4"});
    must({"data-key", "unwrap", "--context", "o=4", "--in", file("n"), "--plaintext-out",
          file("q")});
    EXPECT_EQ(plain("q"), plain("p"));
    for (const std::string bad : {"[1]", R"({"o":1})", "{"}) {
        const auto spoilt = files_.write("bad", "QUFB " + bad + "\n").string();
        const auto refused =
            ctl({"data-key", "unwrap", "--in", spoilt, "--plaintext-out", file("r")});
        EXPECT_EQ(refused.exit_code, 2) << bad;
        EXPECT_TRUE(contains(refused.output, "line 1")) << refused.output;
    }
}

TEST_F(KmsctlCommands, TextsAndDataKeysGoRound) {
    make_key("a", "aes_256");
    make_key("b", "aes_256");
    const auto plain = files_.write("plain", "a small secret").string();
    must({"encrypt", "alias/a", "--context", "app=shop", "--in", plain, "--out", file("c")});
    must({"decrypt", "--context", "app=shop", "--in", file("c"), "--plaintext-out", file("d")});
    EXPECT_EQ(base::read_file(file("d"), 100), "a small secret");
    EXPECT_EQ(ctl({"decrypt", "--in", file("c"), "--plaintext-out", file("e")}).exit_code, 1);

    must({"data-key", "create", "alias/a", "--context", "o=1", "--count", "3", "--out", file("w"),
          "--plaintext-out", file("p")});
    must({"data-key", "rewrap", "--context", "o=1", "--in", file("w"), "--out", file("v"), "--to",
          "alias/b", "--to-context", "o=2"});
    EXPECT_NE(base::read_file(file("w"), 10'000), base::read_file(file("v"), 10'000));
    const auto as_json = ask({"data-key", "rewrap", "--context", "o=1", "--in", file("w"), "--to",
                              "alias/b", "--to-context", "o=2"});
    ASSERT_EQ(as_json.find("results")->array()->size(), 3U);
    EXPECT_EQ(text(as_json.find("results")->array()->front(), "key_version"), "1");
    EXPECT_FALSE(text(as_json.find("results")->array()->front(), "wrapped").empty());
    must({"data-key", "unwrap", "--context", "o=2", "--in", file("v"), "--plaintext-out",
          file("q")});
    EXPECT_EQ(base::read_file(file("p"), 10'000), base::read_file(file("q"), 10'000));
    EXPECT_EQ(ctl({"data-key", "unwrap", "--context", "o=1", "--in", file("v"), "--plaintext-out",
                   file("r")})
                  .exit_code,
              1);
}

TEST_F(KmsctlCommands, ADestroyedKeyIsShownWithItsTombstone) {
    const std::string id = make_key("end", "aes_256");
    must({"key", "schedule-deletion", id, "--days", "7", "--yes"});
    // The days pass.
    edit_store("d.execute('UPDATE keys SET deletion_at = 1 WHERE id = ?', (sys.argv[2],))", {id});
    constexpr int most_looks = 200;
    for (int i = 0; i < most_looks && state_of(id) != "destroyed"; ++i) {
    }
    const auto shown = must({"key", "show", id}).output;
    EXPECT_TRUE(contains(shown, "Tombstone")) << shown;
    EXPECT_TRUE(contains(shown, "deletion_ordered_by")) << shown;
    EXPECT_TRUE(contains(shown, "PROVEN ABSENT")) << shown;
    const auto key = ask({"key", "show", id});
    const auto& version = key.find("tombstone")->find("versions")->array()->front();
    EXPECT_TRUE(contains(shown, text(version, "token_key_id"))) << shown;
}

// As a kill leaves them between the intent and the token: a version of one key, and all of another.
TEST_F(KmsctlCommands, WhatWasGivenUpInTheMakingIsShownWithItsTombstone) {
    const std::string id = make_key("a", "aes_256");
    const std::string lost = "00000000-0000-4000-8000-000000000001";
    const std::string of_version = "00000000-0000-4000-8000-00000000000e";
    const std::string of_key = "00000000-0000-4000-8000-00000000000f";
    edit_store(
        "d.execute(\"INSERT INTO key_versions (key_id, version, state, token_key_id, created_at, "
        "wraps_reserved, known_answer) SELECT key_id, 2, 'pending', ?, created_at, 0, '' "
        "FROM key_versions WHERE key_id = ?\", (sys.argv[4], sys.argv[2])); "
        "d.execute(\"INSERT INTO keys (id, state, profile, description, tags, wanted_alias, "
        "primary_version, created_at) SELECT ?, 'pending', profile, 'lost', tags, '', 1, "
        "created_at FROM keys WHERE id = ?\", (sys.argv[3], sys.argv[2])); "
        "d.execute(\"INSERT INTO key_versions (key_id, version, state, token_key_id, created_at, "
        "wraps_reserved, known_answer) SELECT ?, 1, 'pending', ?, created_at, 0, '' "
        "FROM key_versions WHERE key_id = ? AND version = 1\", "
        "(sys.argv[3], sys.argv[5], sys.argv[2]))",
        {id, lost, of_version, of_key});

    // "yes" stands under PROVEN ABSENT, in the row of the token key.
    const auto row_of = [](const std::string& shown, const std::string& token_key) {
        const auto at = shown.find(token_key);
        EXPECT_NE(at, std::string::npos) << shown;
        return at == std::string::npos ? std::string()
                                       : shown.substr(at, shown.find('\n', at) - at);
    };
    const auto version = must({"key", "show", id}).output;
    EXPECT_TRUE(contains(version, "GIVEN UP")) << version;
    EXPECT_TRUE(contains(version, "WHY")) << version;
    EXPECT_TRUE(contains(version, "the token has no such key")) << version;
    EXPECT_TRUE(contains(row_of(version, of_version), "yes")) << version;
    EXPECT_FALSE(contains(version, "Tombstone")) << "the key is in service:\n" << version;
    EXPECT_EQ(state_of(id), "enabled");
    EXPECT_EQ(text(ask({"key", "rotate", id}), "primary_version"), "3");

    const auto key = must({"key", "show", lost}).output;
    EXPECT_TRUE(contains(key, "Tombstone")) << key;
    EXPECT_TRUE(contains(key, "given_up_in_making")) << key;
    EXPECT_TRUE(contains(key, "the token has no such key")) << key;
    EXPECT_TRUE(contains(row_of(key, of_key), "yes")) << key;
    EXPECT_FALSE(contains(key, "GIVEN UP")) << key;
    EXPECT_EQ(state_of(lost), "destroyed");
    EXPECT_TRUE(contains(must({"key", "list"}).output, lost));
}

TEST_F(KmsctlCommands, AKeyGoesThroughItsLife) {
    const std::string id = make_key("life", "aes_256");
    const auto rotated = ask({"key", "rotate", "alias/life", "--if-primary-version", "1"});
    EXPECT_EQ(text(rotated, "primary_version"), "2");
    EXPECT_EQ(ctl({"key", "rotate", "alias/life", "--if-primary-version", "1"}).exit_code, 1);
    const auto rule =
        files_.write("rule.json", R"({"required":["owner"],"allow_others":true})").string();
    const auto changed = ask({"key", "change", id, "--description", "changed", "--tag", "team=x",
                              "--rotation-days", "90", "--context-rule", rule});
    EXPECT_EQ(text(changed, "description"), "changed");
    EXPECT_EQ(text(changed, "rotation_period_days"), "90");
    EXPECT_FALSE(text(changed, "next_rotation_at").empty());
    EXPECT_TRUE(contains(text(changed, "context_rule"), "owner"));
    const auto again = ask({"key", "change", id, "--rotation-days", "none", "--context-rule",
                            "none", "--without-tags"});
    EXPECT_EQ(text(again, "rotation_period_days"), "");
    EXPECT_EQ(text(again, "tags"), "{}");
    EXPECT_EQ(ctl({"key", "change", id, "--description", "x", "--if-revision", "1"}).exit_code, 1);
    must({"key", "disable", id});
    EXPECT_EQ(state_of(id), "disabled");
    must({"key", "enable", id});
    must({"alias", "set", "other", "alias/life"});
    EXPECT_TRUE(contains(must({"alias", "list"}).output, "alias/other"));
    must({"alias", "remove", "life"});
    EXPECT_FALSE(contains(must({"alias", "list"}).output, "alias/life"));
    must({"key", "schedule-deletion", "alias/other", "--days", "7", "--yes"});
    EXPECT_EQ(state_of(id), "pending_deletion");
    must({"key", "cancel-deletion", "alias/other"});
    EXPECT_EQ(state_of(id), "disabled");
    must({"key", "mark-compromised", id, "--yes"});
    const auto listed = must({"key", "list"});
    EXPECT_TRUE(contains(listed.output, "compromised")) << listed.output;
}

TEST_F(KmsctlCommands, WhatCanNotBeTakenBackIsTypedOrSaidWithYes) {
    const std::string id = make_key("precious", "aes_256");
    for (const char* order : {"schedule-deletion", "mark-compromised"}) {
        const auto silent = ctl({"key", order, id});
        EXPECT_EQ(silent.exit_code, 2) << silent.output;
        EXPECT_TRUE(contains(silent.output, "--yes")) << silent.output;
        const auto wrong = run_on_terminal(command_as(operator_, {"key", order, id}), "yes\n");
        EXPECT_EQ(wrong.exit_code, 2) << wrong.output;
        EXPECT_TRUE(contains(wrong.output, "nothing was done")) << wrong.output;
    }
    EXPECT_EQ(state_of(id), "enabled");
    const auto typed = run_on_terminal(
        command_as(operator_, {"key", "schedule-deletion", "alias/precious"}), "alias/precious\n");
    EXPECT_EQ(typed.exit_code, 0) << typed.output;
    EXPECT_EQ(state_of(id), "pending_deletion");
    const auto by_id =
        run_on_terminal(command_as(operator_, {"key", "mark-compromised", id}), id + "\n");
    EXPECT_EQ(by_id.exit_code, 0) << by_id.output;
    EXPECT_FALSE(text(ask({"key", "show", id}), "compromised_at").empty());
}

TEST_F(KmsctlCommands, AStrangerSeesNothing) {
    make_key("a", "ecdsa_p256");
    const auto message = files_.write("message", "x").string();
    const std::vector<Arguments> commands{{"inventory"},
                                          {"alias", "list"},
                                          {"sign", "alias/a", "--in", message},
                                          {"public-key", "alias/a"},
                                          {"key", "rotate", "alias/a"},
                                          {"key", "mark-compromised", "alias/a", "--yes"}};
    for (const auto& command : commands) {
        const auto refused = as(stranger_, command);
        EXPECT_EQ(refused.exit_code, 1) << refused.output;
        EXPECT_TRUE(refused.output.starts_with("kmsctl: ")) << refused.output;
    }
}

TEST(KmsctlCommandsUsage, WrongUsageIsExitCodeTwo) {
    const TemporaryDirectory files;
    const auto there = files.write("there", "x\n").string();
    const auto large = files.write("large", std::string(65537, 'x')).string();
    const std::vector<std::pair<Arguments, const char*>> wrong = {
        {{"sign", "releases", "--in", there}, "alias/<name>"},
        {{"sign", "alias/a", "--in", there, "--out", there}, "exists already"},
        {{"sign", "alias/a", "--in", "/nowhere/x", "--url", "https://h:1"}, "/nowhere/x"},
        {{"sign", "alias/a", "--in", large}, "larger than 65536"},
        {{"verify", "alias/a", "--in", there}, "--signature"},
        {{"verify", "alias/a", "--signature", "-"}, "standard input"},
        {{"verify", "alias/a", "--signature", there, "--base64", "--in", there}, "base64"},
        {{"public-key", "alias/a", "--version", "0"}, "0"},
        {{"key", "create", "--kind", "des"}, "des"},
        {{"key", "create", "--rotation-days", "0"}, "0"},
        {{"key", "create", "--context-rule", there}, "there"},
        {{"key", "change", "alias/a"}, "nothing to change"},
        {{"key", "change", "alias/a", "--rotation-days", "x"}, "--rotation-days"},
        {{"key", "change", "alias/a", "--tag", "a=1", "--without-tags"}, "exclude"},
        {{"key", "schedule-deletion", "alias/a", "--days", "6"}, "6"},
        {{"key", "schedule-deletion", "alias/a"}, "--yes"},
        {{"alias", "set", "a"}, "KEY"},
        {{"encrypt", "alias/a", "--in", large}, "larger than 4096"},
        {{"decrypt", "--in", there, "--plaintext-out", there}, "exists already"},
        {{"data-key", "rewrap", "--in", there}, "line 1"},
        {{"inventory", "--format", "spdx"}, "spdx"}};
    for (const auto& [arguments, part] : wrong) {
        const auto outcome = run(arguments);
        EXPECT_EQ(outcome.exit_code, 2) << arguments.front() << outcome.output;
        EXPECT_TRUE(contains(outcome.output, part)) << part << " in: " << outcome.output;
    }
}

}  // namespace
}  // namespace tests
