// What an application does around a row of its own: seals what it writes, opens what it reads.
//
//   seal_row URL CA CERTIFICATE KEY CONTEXT < credentials.json
//
// reads JSON, prints the sealed value as it would be kept, opens it again and says whether it is
// the same. Given a sealed value, it seals nothing twice.
#include <iostream>
#include <iterator>
#include <string>

#include <vault/client/value_client.h>

int main(int count, char** arguments) {
    if (count != 6) {
        std::cerr << "usage: seal_row URL CA CERTIFICATE KEY CONTEXT < credentials.json\n";
        return 2;
    }
    try {
        vault::ValueClient strongroom({.url = arguments[1],
                                       .ca = arguments[2],
                                       .certificate = arguments[3],
                                       .key = arguments[4],
                                       .context = arguments[5]});
        const std::string given{std::istreambuf_iterator<char>(std::cin), {}};

        const vault::SealedText sealed = strongroom.seal(given);
        std::cout << sealed.value << '\n';

        const vault::OpenedText opened = strongroom.open(sealed.value);
        const bool is_same = sealed.state == "sealed" ? opened.value.expose() == given : true;
        std::cerr << sealed.state << (is_same ? ", opens to what was given\n" : ", differs\n");
        return is_same ? 0 : 1;
    } catch (const vault::ClientError& error) {
        std::cerr << error.code() << ": " << error.what() << '\n';
        return 1;
    }
}
