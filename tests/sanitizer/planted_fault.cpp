// planted_fault address|undefined|thread: does what that sanitizer must report, and ends as daemons
// do in tests, by SIGKILL.
#include <csignal>
#include <cstddef>
#include <limits>
#include <string_view>
#include <thread>
#include <vector>

namespace {

int shared = 0;

void overflow_heap(std::size_t beyond) {
    const std::vector<char> bytes(beyond);
    const volatile char* first = bytes.data();
    shared = first[beyond];
}

void overflow_integer(int one) { shared = std::numeric_limits<int>::max() + one; }

void race() {
    std::thread other([] { ++shared; });
    ++shared;
    other.join();
}

}  // namespace

int main(int count, char** arguments) {
    const std::string_view fault = count == 2 ? arguments[1] : "";
    if (fault == "address") overflow_heap(static_cast<std::size_t>(count));
    if (fault == "undefined") overflow_integer(count);
    if (fault == "thread") race();
    std::raise(SIGKILL);
}
