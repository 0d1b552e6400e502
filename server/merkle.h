// The Merkle tree of RFC 6962 section 2.1 (the same as RFC 9162 section 2.1) with SHA-256: hashes,
// the tree that grows, proofs and their verification. Only arithmetic is in here: where hashes are
// kept is server/tiles, what is signed is server/checkpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "server/digest.h"

namespace server {

using MerkleHash = Sha256::Digest;
using MerkleProof = std::vector<MerkleHash>;

// Not thread-safe. Throws internal when the library's SHA-256 fails.
class MerkleHasher {
public:
    // SHA-256(0x00 || entry) and SHA-256(0x01 || left || right).
    MerkleHash leaf(std::string_view entry);
    MerkleHash node(const MerkleHash& left, const MerkleHash& right);
    // The root of the tree without leaves: SHA-256 of nothing.
    MerkleHash empty_root();

private:
    Sha256 sha256_;
};

// A tree that only grows. Keeps one hash for each complete subtree on its right edge, so its state
// is O(log n). Not thread-safe.
class MerkleTree {
public:
    std::uint64_t size() const { return size_; }
    void append(const MerkleHash& leaf) { append_subtree(0, leaf); }
    // A complete subtree of 2^height leaves. Throws internal unless the size is a multiple of that.
    void append_subtree(unsigned height, const MerkleHash& root);
    MerkleHash root();
    void clear();

    MerkleHasher& hasher() { return hasher_; }

private:
    MerkleHasher hasher_;
    std::uint64_t size_ = 0;
    std::vector<MerkleHash> edge_;  // one for each set bit of size_, the largest subtree first
};

// The root of the complete subtree of the leaves [index * 2^height, (index + 1) * 2^height).
using MerkleNodes = std::function<MerkleHash(unsigned height, std::uint64_t index)>;

// PATH(index, D[size]) of RFC 6962 2.1.1. Throws invalid_argument unless index < size.
MerkleProof inclusion_proof(std::uint64_t index, std::uint64_t size, const MerkleNodes& nodes,
                            MerkleHasher& hasher);

// PROOF(first, D[second]) of RFC 6962 2.1.2; empty when the sizes are equal or `first` is 0. Throws
// invalid_argument unless first <= second.
MerkleProof consistency_proof(std::uint64_t first, std::uint64_t second, const MerkleNodes& nodes,
                              MerkleHasher& hasher);

// MTH(D[0:size]).
MerkleHash tree_root(std::uint64_t size, const MerkleNodes& nodes, MerkleHasher& hasher);

// RFC 9162 2.1.3.2. False for any proof that does not fit, never an exception for its contents.
bool verify_inclusion(const MerkleHash& leaf, std::uint64_t index, std::uint64_t size,
                      const MerkleProof& proof, const MerkleHash& root, MerkleHasher& hasher);

// RFC 9162 2.1.4.2. A tree is consistent with itself and with every tree when `first` is 0.
bool verify_consistency(std::uint64_t first, const MerkleHash& first_root, std::uint64_t second,
                        const MerkleHash& second_root, const MerkleProof& proof,
                        MerkleHasher& hasher);

}  // namespace server
