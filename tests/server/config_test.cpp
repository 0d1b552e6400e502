// Configuration, secret sources and hardening.
#include "server/config.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "base/file.h"
#include "server/audit_context.h"
#include "server/database_config.h"
#include "server/hardening.h"
#include "server/secret_source.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_directory.h"

namespace {

constexpr std::string_view sound = R"({
  // comments are allowed
  "listen": {"address": "127.0.0.1", "port": 7443},
  "tls": {"certificate": "pki/kmsd.crt", "key": "/abs/kmsd.key", "client_ca": "../ca.crt"},
  "audit": {"directory": "audit-kms"}
})";

// The document that a reader points into.
struct Config {
    explicit Config(std::string_view text) : value(parse(text)), top(value) {}
    static base::JsonValue parse(std::string_view text) {
        base::JsonLimits limits;
        limits.comments = true;
        return base::parse_json(text, limits);
    }
    base::JsonValue value;
    base::JsonReader top;
};

TEST(Config, FileIsReadWithCommentsAndNamedWhenWrong) {
    const tests::TemporaryDirectory folder;
    EXPECT_NE(server::read_config_file(folder.write("a.json", sound)).find("listen"), nullptr);
    const auto broken = folder.write("broken.json", "{\"a\":1,\"a\":2}");
    EXPECT_ERROR_SAYING(invalid_argument, broken.string(), server::read_config_file(broken));
    const auto missing = folder / "missing.json";
    EXPECT_ERROR_SAYING(invalid_argument, missing.string(), server::read_config_file(missing));
}

TEST(Config, TheStoreIsOneDatabase) {
    const tests::TemporaryDirectory folder;
    folder.write("password", "pass word\n");
    const auto read = [&](const std::string& store) {
        Config config("{\"store\":" + store + "}");
        return server::read_database_config(config.top, folder.path(), "kmsd");
    };
    EXPECT_EQ(std::get<server::SqliteConfig>(read(R"({"sqlite":"k.db"})")).file, folder / "k.db");
    const auto config = std::get<server::PostgresqlConfig>(read(
        R"({"postgresql":{"host":"db.example","database":"d","user":"u","password":{"file":"password"},
            "tls":{"ca":"ca.crt"}}})"));
    EXPECT_EQ(config.port, 5432);
    EXPECT_EQ(config.schema, "kmsd");
    EXPECT_EQ(config.password.expose_text(), "pass word");
    EXPECT_EQ(config.ca, folder / "ca.crt");
    EXPECT_ERROR_SAYING(invalid_argument, "store.postgresql.tls",
                        read(R"({"postgresql":{"host":"db.example","database":"d","user":"u"}})"));
    EXPECT_NO_THROW(read(R"({"postgresql":{"host":"/run/db","database":"d","user":"u"}})"));
    EXPECT_ERROR_SAYING(
        invalid_argument, "UNIX socket",
        read(R"({"postgresql":{"host":"/run/db","database":"d","user":"u","tls":{"ca":"c"}}})"));
    EXPECT_ERROR(invalid_argument, read("{}"));
    EXPECT_ERROR(invalid_argument,
                 read(R"({"sqlite":"k.db","postgresql":{"host":"/r","database":"d","user":"u"}})"));
}

TEST(Config, RelativePathsAreTakenFromTheFolder) {
    Config config(sound);
    const auto edge = server::read_edge_config(config.top, "/etc/strongroom");
    EXPECT_EQ(edge.certificate, "/etc/strongroom/pki/kmsd.crt");
    EXPECT_EQ(edge.key, "/abs/kmsd.key");
    EXPECT_EQ(edge.client_ca, "/etc/ca.crt");
    EXPECT_EQ(edge.listen.front().port, 7443);
    EXPECT_EQ(edge.minimum_version, server::TlsVersion::tls_1_3);
    EXPECT_FALSE(edge.require_client_certificate);
    const auto audit = server::read_audit_config(config.top, "/etc/strongroom", "kmsd");
    EXPECT_EQ(audit.directory, "/etc/strongroom/audit-kms");
    EXPECT_EQ(audit.daemon, "kmsd");
    EXPECT_FALSE(audit.node.empty());
    EXPECT_FALSE(audit.seal);
    EXPECT_NO_THROW(config.top.refuse_unknown());
}

TEST(Config, EveryOptionIsRead) {
    Config config(R"({
      "listen": {"address": "::1", "port": 0, "max_connections": 10, "max_connections_per_peer": 5, "threads": 3, "idle_seconds": 9},
      "tls": {"certificate": "c", "key": "k", "client_ca": "a", "minimum_version": "1.2", "client_certificates": "required"},
      "audit": {"directory": "d", "node": "n1", "segments": {"mebibytes": 16, "days": 2},
        "checkpoints": {"records": 10, "seconds": 2, "copy_directory": "copy", "keep_days": 90}}, "workers": {"count": 4, "max_queued": 8},
      "policy": {"file": "p.json", "shadow": "next.json"}, "log": {"level": "warning"}})");
    const auto edge = server::read_edge_config(config.top, "/x");
    EXPECT_EQ(edge.listen.front().address, "::1");
    EXPECT_EQ(edge.max_connections, 10U);
    EXPECT_EQ(edge.max_connections_per_peer, 5U);
    EXPECT_EQ(edge.threads, 3U);
    EXPECT_EQ(edge.idle_deadline, std::chrono::seconds(9));
    EXPECT_EQ(edge.minimum_version, server::TlsVersion::tls_1_2);
    EXPECT_TRUE(edge.require_client_certificate);
    const auto audit = server::read_audit_config(config.top, "/x", "kmsd");
    EXPECT_EQ(audit.node, "n1");
    EXPECT_EQ(audit.segment_bytes, 16UL * 1024 * 1024);
    EXPECT_EQ(audit.segment_age, std::chrono::days(2));
    ASSERT_TRUE(audit.seal);
    EXPECT_EQ(audit.seal->every_records, 10U);
    EXPECT_EQ(audit.seal->every, std::chrono::seconds(2));
    EXPECT_EQ(audit.seal->copy, "/x/copy");
    EXPECT_EQ(audit.seal->keep, std::chrono::days(90));
    const auto gate = server::read_gate_config(config.top);
    EXPECT_EQ(gate.workers, 4U);
    EXPECT_EQ(gate.max_queued, 8U);
    const auto policies = server::read_policy_files(config.top, "/x");
    EXPECT_EQ(policies.file, "/x/p.json");
    EXPECT_EQ(policies.shadow, "/x/next.json");
    EXPECT_EQ(server::read_log_level(config.top), base::LogLevel::warning);
    EXPECT_NO_THROW(config.top.refuse_unknown());
}

TEST(Config, ADaemonMayListenInSeveralPlacesAndKnowRevocationLists) {
    Config config(R"({
      "listen": {"address": "unix:run/kmsd.sock", "mode": "0660",
        "also": [{"address": "10.0.0.1", "port": 7443}, {"address": "unix:/run/other.sock"}]},
      "tls": {"certificate": "c", "key": "k", "client_ca": "a", "client_crl": ["a.crl", "/b.crl"]},
      "metrics": {"address": "127.0.0.1", "port": 9464}})");
    const auto edge = server::read_edge_config(config.top, "/x");
    ASSERT_EQ(edge.listen.size(), 3U);
    EXPECT_EQ(edge.listen[0].address, "unix:/x/run/kmsd.sock");
    EXPECT_EQ(edge.listen[0].mode, 0660U);
    EXPECT_EQ(edge.listen[1].address, "10.0.0.1");
    EXPECT_EQ(edge.listen[1].port, 7443);
    EXPECT_EQ(edge.listen[2].address, "unix:/run/other.sock");
    EXPECT_EQ(edge.listen[2].mode, 0600U);
    EXPECT_EQ(edge.client_crl, (std::vector<std::filesystem::path>{"/x/a.crl", "/b.crl"}));
    const auto metrics = server::read_metrics_config(config.top, "/x");
    ASSERT_TRUE(metrics);
    EXPECT_EQ(metrics->listen.front().port, 9464);
    EXPECT_NO_THROW(config.top.refuse_unknown());
    Config none("{}");
    EXPECT_FALSE(server::read_metrics_config(none.top, "/x"));
}

TEST(Config, ADaemonWhoseLogAnotherSignsReadsWhichKeyItselfAndForOthersItIsNoField) {
    const auto read = [](const std::string& checkpoints,
                         const server::SigningKeyReader& read_signing_key) {
        Config config(R"({"audit":{"directory":"d","checkpoints":)" + checkpoints + "}}");
        return server::read_audit_config(config.top, "/x", "d", read_signing_key);
    };
    const auto reader = [](base::JsonReader& checkpoints) {
        return std::string(checkpoints.required_string("signing_key", 16));
    };
    const auto audit =
        read(R"({"signing_key":"theirs","refuse_after_seconds":60,"compress_days":3})", reader);
    EXPECT_EQ(audit.seal->signing_key, "theirs");
    EXPECT_EQ(audit.seal->refuse_after, std::chrono::seconds(60));
    EXPECT_EQ(audit.seal->compress, std::chrono::days(3));
    EXPECT_ERROR_SAYING(invalid_argument, "audit.checkpoints.signing_key", read("{}", reader));
    EXPECT_ERROR_SAYING(invalid_argument, "audit.checkpoints.signing_key",
                        read(R"({"signing_key":"theirs"})", {}));
}

TEST(Config, ContextRulesAreReadAndTheirKeyIsMadeOnce) {
    const tests::TemporaryDirectory folder;
    const auto read = [&](const std::string& context) {
        Config config(R"({"audit":{"directory":"d","context":)" + context + "}}");
        return server::read_audit_config(config.top, folder.path(), "kmsd").context;
    };
    const std::string rules =
        R"({"default":"drop","fields":{"user":"hash"},"hash_key":{"file":"context.key"}})";
    const auto written = [](const server::AuditContext& context) {
        base::JsonWriter out;
        out.begin_object();
        context.write(out, {{"other", "x"}, {"user", "u-17"}});
        out.end_object();
        return std::string(out.text());
    };
    const std::string first = written(*read(rules));
    EXPECT_EQ(written(*read(rules)), first) << "the same key after a restart";
    EXPECT_EQ(first.find("u-17"), std::string::npos);
    EXPECT_EQ(first.find("other"), std::string::npos);
    const auto key =
        base::read_secret_file(folder / "context.key");  // refuses what others can read
    EXPECT_NE(first.find(server::context_hash(key.expose(), "user", "u-17")), std::string::npos);
    EXPECT_ERROR_SAYING(invalid_argument, "audit.context.hash_key",
                        read(R"({"fields":{"user":"hash"}})"));
    EXPECT_ERROR_SAYING(invalid_argument, "audit.context.hash_key",
                        read(R"({"hash_key":{"file":"context.key"}})"));
    EXPECT_ERROR_SAYING(invalid_argument, "audit.context.fields",
                        read(R"({"fields":{"user":"hide"}})"));
    EXPECT_ERROR_SAYING(invalid_argument, "audit.context.default", read(R"({"default":"no"})"));
}

TEST(Config, WrongFieldsAreNamed) {
    const std::string tls = R"("tls":{"certificate":"c","key":"k","client_ca":"a"})";
    const std::vector<std::pair<std::string, std::string>> cases = {
        {R"({})", "listen"},
        {R"({"listen":{"address":"localhost","port":1},)" + tls + "}", "listen.address"},
        {R"({"listen":{"address":"::1","port":65536},)" + tls + "}", "listen.port"},
        {R"({"listen":{"address":"::1","port":1,"ports":2},)" + tls + "}", "listen.ports"},
        {R"({"listen":{"address":"unix:"},)" + tls + "}", "listen.address"},
        {R"({"listen":{"address":"unix:/s","port":1},)" + tls + "}", "listen.port"},
        {R"({"listen":{"address":"unix:/s","mode":"0777"},)" + tls + "}", "listen.mode"},
        {R"({"listen":{"address":"unix:/s","mode":"0060"},)" + tls + "}", "listen.mode"},
        {R"({"listen":{"address":"unix:/s","mode":"rw"},)" + tls + "}", "listen.mode"},
        {R"({"listen":{"address":"::1","port":1,"mode":"0660"},)" + tls + "}", "listen.mode"},
        {R"({"listen":{"address":"::1","port":1,"also":[{"address":"::1"}]},)" + tls + "}",
         "listen.also[0].port"},
        {R"({"listen":{"address":"::1","port":1},"tls":{"certificate":"c","key":"k","client_ca":"a","client_crl":[""]}})",
         "tls.client_crl"},
        {R"({"listen":{"address":"::1","port":1}})", "tls"},
        {R"({"listen":{"address":"::1","port":1},"tls":{"certificate":"c","key":"k"}})",
         "tls.client_ca"},
        {R"({"listen":{"address":"::1","port":1},"tls":{"certificate":"c","key":"k","client_ca":"a","minimum_version":"1.1"}})",
         "tls.minimum_version"},
        {R"({"listen":{"address":"::1","port":1},"tls":{"certificate":"c","key":"k","client_ca":"a","client_certificates":"no"}})",
         "tls.client_certificates"},
    };
    for (const auto& [text, field] : cases) {
        Config config(text);
        SCOPED_TRACE(text);
        EXPECT_ERROR_SAYING(invalid_argument, field, server::read_edge_config(config.top, "/x"));
    }
    Config others(
        R"({"audit":{"directory":""},"workers":{"count":0},"log":{"level":"loud"},"policy":{}})");
    EXPECT_ERROR_SAYING(invalid_argument, "audit.directory",
                        server::read_audit_config(others.top, "/x", "kmsd"));
    EXPECT_ERROR_SAYING(invalid_argument, "workers.count", server::read_gate_config(others.top));
    EXPECT_ERROR_SAYING(invalid_argument, "log.level", server::read_log_level(others.top));
    EXPECT_ERROR_SAYING(invalid_argument, "policy.file",
                        server::read_policy_files(others.top, "/x"));
}

TEST(Secret, ComesFromAPrivateFile) {
    const tests::TemporaryDirectory folder;
    folder.write("user.pin", "1234\n", 0600);
    Config config(R"({"pin":{"file":"user.pin"}})");
    EXPECT_EQ(server::read_secret(config.top, "pin", folder.path()).expose_text(), "1234");
    folder.write("open.pin", "1234\n", 0644);
    Config open(R"({"pin":{"file":"open.pin"}})");
    EXPECT_ERROR_SAYING(invalid_argument, "open.pin",
                        server::read_secret(open.top, "pin", folder.path()));
}

TEST(Secret, ComesFromASystemdCredential) {
    const tests::TemporaryDirectory folder;
    folder.write("kmsd.pin", "5678", 0400);
    Config config(R"({"pin":{"credential":"kmsd.pin"}})");
    ::unsetenv("CREDENTIALS_DIRECTORY");
    EXPECT_ERROR_SAYING(invalid_argument, "kmsd.pin", server::read_secret(config.top, "pin", "/x"));
    ::setenv("CREDENTIALS_DIRECTORY", folder.path().c_str(), 1);
    EXPECT_EQ(server::read_secret(config.top, "pin", "/x").expose_text(), "5678");
    for (const auto* name : {"../kmsd.pin", "a/b", "..", "."}) {
        Config other(std::string(R"({"pin":{"credential":")") + name + "\"}}");
        EXPECT_ERROR_SAYING(invalid_argument, "pin.credential",
                            server::read_secret(other.top, "pin", "/x"));
    }
}

TEST(Secret, NeedsExactlyOneSource) {
    for (const auto* text :
         {R"({})", R"({"pin":"1234"})", R"({"pin":{}})", R"({"pin":{"file":"a","prompt":true}})",
          R"({"pin":{"value":"1234"}})", R"({"pin":{"prompt":false}})"}) {
        Config config(text);
        SCOPED_TRACE(text);
        EXPECT_ERROR_SAYING(invalid_argument, "pin", server::read_secret(config.top, "pin", "/x"));
    }
}

TEST(Secret, PromptNeedsATerminal) {
    if (::setsid() < 0) GTEST_SKIP() << "can't give up the terminal";
    ::signal(SIGHUP, SIG_IGN);  // closing the terminal hangs up on the leader of its session
    Config config(R"({"pin":{"prompt":true}})");
    EXPECT_ERROR_SAYING(invalid_argument, "terminal", server::read_secret(config.top, "pin", "/x"));
}

// Debian names a terminal after the one that calls ptsname; good enough for a test of one thread.
TEST(Secret, PromptReadsALineWithoutEcho) {
    const int controller = ::posix_openpt(O_RDWR | O_NOCTTY);
    if (controller < 0 || ::grantpt(controller) != 0 || ::unlockpt(controller) != 0)
        GTEST_SKIP() << "no terminals here";
    if (::setsid() < 0) GTEST_SKIP() << "can't give up the terminal";
    ::signal(SIGHUP, SIG_IGN);  // closing the terminal hangs up on the leader of its session
    const int terminal = ::open(::ptsname(controller), O_RDWR);  // becomes the process's terminal
    if (terminal < 0) GTEST_SKIP() << "no terminals here";
    ASSERT_EQ(::write(controller, "", 0), 0);
    std::thread typist([controller] {
        std::string seen;
        char c = 0;
        while (seen.find("pin: ") == std::string::npos && ::read(controller, &c, 1) == 1) seen += c;
        EXPECT_EQ(::write(controller, "s3cret\n", 7), 7);
    });
    Config config(R"({"pin":{"prompt":true}})");
    const auto secret = server::read_secret(config.top, "pin", "/x");
    typist.join();
    EXPECT_EQ(secret.expose_text(), "s3cret");
    std::string echoed;
    char c = 0;
    while (::read(controller, &c, 1) == 1 && c != '\n') echoed += c;
    EXPECT_EQ(echoed.find("s3cret"), std::string::npos);
    ::close(terminal);
    ::close(controller);
}

void environment(const char* entry) {
    const std::array<const char*, 2> list = {entry, nullptr};
    server::refuse_secret_environment(list.data());
}

TEST(Hardening, SecretsInTheEnvironmentAreRefusedByNameAndNotQuoted) {
    for (const auto* name :
         {"PIN", "USER_PIN", "ENCRYPTION_KEY", "CREDENTIALS_ENC_KEY_B64", "db-password",
          "Passphrase", "CLIENT_SECRET", "KMS_SECRETS", "PGPASSWORD", "APIKEY", "MYAPIKEY",
          "apiKey", "DB_PASSWD", "CLIENTSECRET_1", "WALLETPASSPHRASE", "MYSQL_PWD"}) {
        try {
            environment((std::string(name) + "=hunter2").c_str());
            ADD_FAILURE() << name << " passed";
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::failed_precondition);
            EXPECT_NE(error.message().find(name), std::string::npos);
            EXPECT_EQ(std::string(error.what()).find("hunter2"), std::string::npos);
        }
    }
}

TEST(Hardening, HarmlessEnvironmentPasses) {
    for (const auto* entry :
         {"PATH=/bin", "PIN=", "PIN", "PIN_FILE=/x", "TLS_KEY_PATH=/x", "MONKEY=x", "SPINE=x",
          "CREDENTIALS_DIRECTORY=/run/x", "KEYBOARD=us", "PWD=/x", "OLDPWD=/x", "PGPASSFILE=/x",
          "PGPASSWORD_FILE=/x", "SECRETARY=x"}) {
        EXPECT_NO_THROW(environment(entry)) << entry;
    }
    EXPECT_NO_THROW(server::refuse_secret_environment(nullptr));
}

TEST(Hardening, SecretsInArgumentsAreRefused) {
    for (const auto* argument : {"--pin", "--pin=1234", "-pin", "--user-pin", "--password=x",
                                 "--key", "--KEY=abc", "--apikey", "--dbpassword=x"}) {
        SCOPED_TRACE(argument);
        EXPECT_ERROR(failed_precondition,
                     server::refuse_secret_arguments({"--config", "x", argument}));
    }
    EXPECT_NO_THROW(
        server::refuse_secret_arguments({"kmsd", "--config", "kmsd.json", "--key-file=x",
                                         "--pin-file", "x", "-", "--", "key", "--keyboard"}));
    try {
        server::refuse_secret_arguments({"--pin=hunter2"});
    } catch (const base::Error& error) {
        EXPECT_EQ(std::string(error.what()).find("hunter2"), std::string::npos);
    }
}

TEST(Hardening, ProcessCanNeitherBeDumpedNorGainPrivileges) {
    base::Log log("test", base::LogLevel::error);
    server::harden_process(log);
    rlimit core{};
    ASSERT_EQ(::getrlimit(RLIMIT_CORE, &core), 0);
    EXPECT_EQ(core.rlim_cur, 0U);
    EXPECT_EQ(core.rlim_max, 0U);
    EXPECT_EQ(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    EXPECT_EQ(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}

TEST(Hardening, RootIsRefused) {
    if (::geteuid() == 0) {
        EXPECT_ERROR_SAYING(failed_precondition, "root", server::refuse_root());
        ASSERT_EQ(::seteuid(65534), 0);
    }
    EXPECT_NO_THROW(server::refuse_root());
    // Back to who it was: the leak sanitizer can't look into a process that gave up root.
    static_cast<void>(::seteuid(::getuid()));
}

}  // namespace
