// The load generator as a program: sends one request again and again over keep-alive TLS
// connections and prints the rate.
// Usage: bench_load_client PORT PKI CALLER CONNECTIONS SECONDS PATH [METHOD [BEARER_FILE]] <BODY,
// POST unless METHOD is given, where PKI is a folder of deploy/local-authority, CALLER a name in
// it, the file's line is sent as a bearer, and the body comes on standard input. CONNECTIONS@RATE
// sends so many requests a second in place of as many as are answered. Prints: answers
// per second, median and 99th percentile in microseconds, errors.
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>

#include "tests/bench/load.h"

namespace {

tests::LoadConfig read_arguments(char** argv) {
    const std::filesystem::path pki = argv[2];
    const std::string caller = argv[3];
    tests::LoadConfig config;
    config.port = static_cast<std::uint16_t>(std::stoul(argv[1]));
    config.ca = pki / "ca.crt";
    config.certificate = pki / (caller + ".crt");
    config.key = pki / (caller + ".key");
    const std::string load = argv[4];
    config.connections = std::stoul(load);
    if (const auto at = load.find('@'); at != std::string::npos) {
        config.rate = std::stod(load.substr(at + 1));
    }
    config.duration = std::chrono::seconds(std::stol(argv[5]));
    return config;
}

std::string line_of(const char* file) {
    std::ifstream in(file);
    std::string line;
    if (!std::getline(in, line) || line.empty()) throw std::runtime_error("no bearer in the file");
    return line;
}

int run(char** argv, std::string_view method, const char* bearer_file) {
    const std::string body{std::istreambuf_iterator<char>(std::cin), {}};
    const std::string bearer = bearer_file == nullptr ? std::string() : line_of(bearer_file);
    const std::string request = tests::http_request(method, argv[6], body, bearer);
    const auto result =
        tests::run_load(read_arguments(argv),
                        [&](std::size_t /*connection*/) -> std::string_view { return request; });
    std::cout << result.per_second << ' ' << result.p50.count() << ' ' << result.p99.count() << ' '
              << result.errors << '\n';
    if (result.errors == 0) return 0;
    std::cerr << "bench_load_client: " << result.first_error << '\n';
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 7 || argc > 9) {
        std::cerr << "usage: bench_load_client PORT PKI CALLER CONNECTIONS SECONDS PATH [METHOD "
                     "[BEARER_FILE]] <BODY\n";
        return 2;
    }
    try {
        return run(argv, argc > 7 ? argv[7] : "POST", argc > 8 ? argv[8] : nullptr);
    } catch (const std::exception& error) {
        std::cerr << "bench_load_client: " << error.what() << '\n';
        return 1;
    }
}
