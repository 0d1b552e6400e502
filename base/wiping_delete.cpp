// The program's operator delete: wipes what it gives back. Linked into the programs that see
// secrets, so that no library's copy of one (a parser's token, a short string within a tree, a
// client's buffer) outlives its object on the heap. What stands on a stack is not reached.
//
// Replacing these is what the language provides them for (C++20 [new.delete.single],
// [replacement.functions]); operator new stays the library's, which is malloc.
#include <malloc.h>
#include <strings.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace {

// Who knows the size has written to no more than that; the allocator's word for it takes longer.
void wipe_and_free(void* memory, std::size_t size) noexcept {
    if (memory == nullptr) return;
    ::explicit_bzero(memory, size);
    std::free(memory);  // NOLINT(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory)
}

void wipe_and_free(void* memory) noexcept {
    wipe_and_free(memory, ::malloc_usable_size(memory));  // 0 for null
}

}  // namespace

// The forms for nothrow and aligned memory of the library call these two or free memory that no
// secret is in. The linter asks for an operator new beside them: that is the library's.
// NOLINTBEGIN(misc-new-delete-overloads)
void operator delete(void* memory) noexcept { wipe_and_free(memory); }
void operator delete(void* memory, std::size_t size) noexcept { wipe_and_free(memory, size); }
void operator delete[](void* memory) noexcept { wipe_and_free(memory); }
void operator delete[](void* memory, std::size_t size) noexcept { wipe_and_free(memory, size); }
// NOLINTEND(misc-new-delete-overloads)
