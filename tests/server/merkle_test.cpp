// The known answers are those of the Certificate Transparency projects: leaves, roots and node
// hashes of github.com/transparency-dev/merkle, testonly/constants.go (Apache-2.0), which took them
// from google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc.
#include "server/merkle.h"

#include <gtest/gtest.h>

#include "base/encoding.h"
#include "tests/support/expect_error.h"

namespace {

using server::MerkleHash;
using server::MerkleProof;

std::string text_of(std::string_view hex) {
    const auto bytes = base::parse_hex(hex);
    return std::string(base::as_text(*bytes));
}

MerkleHash hash_of(std::string_view hex) {
    MerkleHash hash{};
    const auto bytes = base::parse_hex(hex);
    std::copy(bytes->begin(), bytes->end(), hash.begin());
    return hash;
}

const std::vector<std::string> known_leaves = {text_of(""),
                                               text_of("00"),
                                               text_of("10"),
                                               text_of("2021"),
                                               text_of("3031"),
                                               text_of("40414243"),
                                               text_of("5051525354555657"),
                                               text_of("606162636465666768696a6b6c6d6e6f")};

const std::vector<std::string> known_roots = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};

// All leaves at hand; makes every node from them.
class WholeTree {
public:
    explicit WholeTree(const std::vector<std::string>& entries) {
        for (const std::string& entry : entries) leaves_.push_back(hasher.leaf(entry));
    }
    MerkleHash node(unsigned height, std::uint64_t index) {
        if (height == 0) return leaves_.at(index);
        return hasher.node(node(height - 1, 2 * index), node(height - 1, 2 * index + 1));
    }
    server::MerkleNodes nodes() {
        return [this](unsigned height, std::uint64_t index) { return node(height, index); };
    }
    MerkleHash root(std::uint64_t size) { return server::tree_root(size, nodes(), hasher); }
    const MerkleHash& leaf(std::size_t index) const { return leaves_.at(index); }

    server::MerkleHasher hasher;

private:
    std::vector<MerkleHash> leaves_;
};

WholeTree numbered_tree(std::size_t size) {
    std::vector<std::string> entries;
    for (std::size_t i = 0; i < size; ++i) entries.push_back("entry " + std::to_string(i));
    return WholeTree(entries);
}

TEST(Merkle, RootsAreTheKnownOnesAtEverySize) {
    server::MerkleTree tree;
    EXPECT_EQ(base::to_hex(tree.root()), known_roots[0]);
    for (std::size_t i = 0; i < known_leaves.size(); ++i) {
        tree.append(tree.hasher().leaf(known_leaves[i]));
        EXPECT_EQ(tree.size(), i + 1);
        EXPECT_EQ(base::to_hex(tree.root()), known_roots[i + 1]);
    }
}

TEST(Merkle, InclusionProofsAreTheKnownOnes) {
    WholeTree tree(known_leaves);
    // RFC 6962 2.1.3 in numbers: index 0 of 8, and the odd one out at the end of 5.
    EXPECT_EQ(
        server::inclusion_proof(0, 8, tree.nodes(), tree.hasher),
        (MerkleProof{hash_of("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"),
                     hash_of("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"),
                     hash_of("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4")}));
    EXPECT_EQ(
        server::inclusion_proof(5, 8, tree.nodes(), tree.hasher),
        (MerkleProof{hash_of("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"),
                     hash_of("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
                     hash_of("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7")}));
    EXPECT_EQ(server::inclusion_proof(4, 5, tree.nodes(), tree.hasher),
              (MerkleProof{hash_of(known_roots[4])}));
}

TEST(Merkle, ConsistencyProofsAreTheKnownOnes) {
    WholeTree tree(known_leaves);
    EXPECT_EQ(
        server::consistency_proof(1, 8, tree.nodes(), tree.hasher),
        (MerkleProof{hash_of("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"),
                     hash_of("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"),
                     hash_of("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4")}));
    EXPECT_EQ(
        server::consistency_proof(6, 8, tree.nodes(), tree.hasher),
        (MerkleProof{hash_of("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"),
                     hash_of("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
                     hash_of("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7")}));
    EXPECT_EQ(
        server::consistency_proof(2, 5, tree.nodes(), tree.hasher),
        (MerkleProof{hash_of("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"),
                     hash_of("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b")}));
    EXPECT_TRUE(server::consistency_proof(0, 8, tree.nodes(), tree.hasher).empty());
    EXPECT_TRUE(server::consistency_proof(8, 8, tree.nodes(), tree.hasher).empty());
}

TEST(Merkle, EveryInclusionProofVerifiesAndNoOtherDoes) {
    constexpr std::size_t most = 66;
    WholeTree tree = numbered_tree(most);
    for (std::uint64_t size = 1; size <= most; ++size) {
        const MerkleHash root = tree.root(size);
        for (std::uint64_t index = 0; index < size; ++index) {
            const auto proof = server::inclusion_proof(index, size, tree.nodes(), tree.hasher);
            const MerkleHash& leaf = tree.leaf(index);
            auto verify = [&](std::uint64_t i, std::uint64_t n, const MerkleProof& path) {
                return server::verify_inclusion(leaf, i, n, path, root, tree.hasher);
            };
            ASSERT_TRUE(verify(index, size, proof)) << index << " of " << size;
            EXPECT_FALSE(verify(index + 1, size, proof));
            EXPECT_FALSE(verify(index ^ 1U, size, proof));
            auto wrong = proof;
            wrong.push_back(root);
            EXPECT_FALSE(verify(index, size, wrong));
            for (std::size_t i = 0; i < proof.size(); ++i) {
                wrong = proof;
                wrong[i][7] ^= 1U;
                EXPECT_FALSE(verify(index, size, wrong));
            }
            if (proof.empty()) continue;
            wrong = proof;
            wrong.pop_back();
            EXPECT_FALSE(verify(index, size, wrong));
        }
    }
}

TEST(Merkle, EveryConsistencyProofVerifiesAndNoOtherDoes) {
    constexpr std::uint64_t most = 40;
    WholeTree tree = numbered_tree(most);
    for (std::uint64_t second = 1; second <= most; ++second) {
        for (std::uint64_t first = 1; first <= second; ++first) {
            const auto proof = server::consistency_proof(first, second, tree.nodes(), tree.hasher);
            const MerkleHash from = tree.root(first);
            const MerkleHash to = tree.root(second);
            auto verify = [&](const MerkleHash& a, const MerkleHash& b, const MerkleProof& path) {
                return server::verify_consistency(first, a, second, b, path, tree.hasher);
            };
            ASSERT_TRUE(verify(from, to, proof)) << first << " to " << second;
            MerkleHash other = from;
            other[0] ^= 1U;
            EXPECT_FALSE(verify(other, to, proof));
            EXPECT_FALSE(verify(from, other, proof));
            auto wrong = proof;
            wrong.push_back(to);
            EXPECT_FALSE(verify(from, to, wrong));
            for (std::size_t i = 0; i < proof.size(); ++i) {
                wrong = proof;
                wrong[i][31] ^= 0x80U;
                EXPECT_FALSE(verify(from, to, wrong));
            }
            if (proof.empty()) continue;
            wrong = proof;
            wrong.pop_back();
            EXPECT_FALSE(verify(from, to, wrong));
            EXPECT_FALSE(verify(from, to, {}));
        }
    }
}

TEST(Merkle, EveryTreeIsConsistentWithTheEmptyOneAndNoneWithALargerOne) {
    WholeTree tree = numbered_tree(3);
    EXPECT_TRUE(
        server::verify_consistency(0, tree.hasher.empty_root(), 3, tree.root(3), {}, tree.hasher));
    EXPECT_FALSE(server::verify_consistency(0, tree.root(1), 3, tree.root(3), {}, tree.hasher));
    EXPECT_FALSE(server::verify_consistency(3, tree.root(3), 2, tree.root(2), {}, tree.hasher));
}

TEST(Merkle, ProofsOfWhatTheTreeDoesNotHaveAreRefused) {
    WholeTree tree = numbered_tree(3);
    EXPECT_ERROR(invalid_argument, server::inclusion_proof(3, 3, tree.nodes(), tree.hasher));
    EXPECT_ERROR(invalid_argument, server::consistency_proof(4, 3, tree.nodes(), tree.hasher));
}

TEST(Merkle, SubtreesMakeTheSameTreeAsTheirLeaves) {
    WholeTree whole = numbered_tree(12);
    server::MerkleTree tree;
    tree.append_subtree(3, whole.node(3, 0));
    tree.append_subtree(1, whole.node(1, 4));
    EXPECT_EQ(tree.root(), whole.root(10));
    EXPECT_ERROR(internal, tree.append_subtree(2, whole.node(2, 2)));
    tree.append(whole.leaf(10));
    tree.append(whole.leaf(11));
    EXPECT_EQ(tree.root(), whole.root(12));
}

}  // namespace
