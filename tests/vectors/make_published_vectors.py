#!/usr/bin/env python3
"""Writes published.json from the vectors that Debian's package python3-cryptography-vectors has, which are
NIST's CAVP files, RFC 4231 and the Ed25519 authors' own: those of the keys and mechanisms that Strongroom
uses. `make_published_vectors.py FOLDER > published.json`, FOLDER being the package's cryptography_vectors."""
import json
import pathlib
import re
import sys

FOLDER = pathlib.Path(sys.argv[1])
GCM = "ciphers/AES/GCM/gcmDecrypt256.rsp"
HMAC = "HMAC/rfc-4231-sha256.txt"
ED25519 = "asymmetric/Ed25519/sign.input"
ECDSA_GENERATED = "asymmetric/ECDSA/FIPS_186-3/SigGen.txt"
ECDSA_VERIFIED = "asymmetric/ECDSA/FIPS_186-3/SigVer.rsp"
PSS = "asymmetric/RSA/FIPS_186-2/SigVerPSS_186-3.rsp"
CURVES = {"[P-256,SHA-256]": "ecdsa_p256", "[P-384,SHA-384]": "ecdsa_p384"}


def records(name, ends):
    """(section, fields) for each record of a CAVP file; `ends` are the fields that end one."""
    section, fields = {}, {}
    for line in (FOLDER / name).read_text().splitlines():
        line = line.strip()
        if line.startswith("["):
            section[line.split("=")[0].strip("[ ") if "=" in line else "curve"] = line
            fields = {}
        elif "=" in line or line == "FAIL":
            word, _, value = (part.strip() for part in line.partition("="))
            fields[word] = value
            if word in ends:
                yield dict(section), dict(fields)
                if "Count" in fields or "Msg" in fields:
                    fields = {key: fields[key] for key in ("n",) if key in fields}


def gcm():
    """96-bit IVs and 128-bit tags; of each size the first three, and the first that must not open."""
    taken = {}
    for section, fields in records(GCM, ("PT", "FAIL")):
        if "96" not in section["IVlen"] or "128" not in section["Taglen"]:
            continue
        size = section["PTlen"], section["AADlen"]
        opens = "FAIL" not in fields
        count = sum(each["opens"] == opens for each in taken.setdefault(size, []))
        if count < (3 if opens else 1):
            taken[size].append({"key": fields["Key"], "iv": fields["IV"], "aad": fields["AAD"],
                                "ciphertext": fields["CT"] + fields["Tag"], "opens": opens,
                                "plaintext": fields.get("PT", "")})
    return [each for group in taken.values() for each in group]


def hmac():
    """Keys of 32 bytes and more, which tokens take, with the whole MAC."""
    return [{"key": fields["Key"], "message": fields["Msg"], "mac": fields["MD"]}
            for _, fields in records(HMAC, ("MD",)) if len(fields["Key"]) >= 64 and len(fields["MD"]) == 64]


def ed25519():
    lines = (FOLDER / ED25519).read_text().splitlines()
    return [{"private": secret[:64], "public": public, "message": message, "signature": signed[:128]}
            for secret, public, message, signed in (line.split(":")[:4] for line in lines[:24])]


def hexadecimal(value, digits):
    return value.zfill(digits)


def ecdsa(name, ends, most):
    found = []
    for section, fields in records(name, ends):
        curve = CURVES.get(section.get("curve"))
        if curve is None or sum(each["kind"] == curve for each in found) == most:
            continue
        digits = 64 if curve == "ecdsa_p256" else 96
        one = {"kind": curve, "point": "04" + "".join(hexadecimal(fields[word], digits) for word in ("Qx", "Qy")),
               "message": fields["Msg"], "signature": "".join(hexadecimal(fields[word], digits) for word in ("R", "S"))}
        if "d" in fields:
            one["private"] = hexadecimal(fields["d"], digits)
        if "Result" in fields:
            one["verifies"], one["result"] = fields["Result"].startswith("P"), fields["Result"]
        found.append(one)
    return found


def pss():
    """All with a salt of 10 bytes, where Strongroom takes 32: none is a signature of ours."""
    found, modulus, fields = [], "", {}
    for line in (FOLDER / PSS).read_text().splitlines():
        word, _, value = (part.strip() for part in line.partition("="))
        if word == "n":
            modulus = value
        fields[word] = value
        kind = f"rsa_pss_{len(modulus) * 4}"
        enough = sum(each["kind"] == kind for each in found) == 6
        if word == "Result" and len(modulus) in (768, 1024) and fields["SHAAlg"] == "SHA256" and not enough:
            found.append({"kind": kind, "modulus": modulus,
                          "exponent": re.sub("^(00)+", "", fields["e"]), "message": fields["Msg"],
                          "signature": fields["S"], "result": value})
    return found


def by_hundred(value):
    """Long texts in parts, so that lines stay short."""
    if isinstance(value, dict):
        return {key: by_hundred(each) for key, each in value.items()}
    if isinstance(value, list):
        return [by_hundred(each) for each in value]
    if isinstance(value, str) and len(value) > 100:
        return [value[start:start + 100] for start in range(0, len(value), 100)]
    return value


print(json.dumps(by_hundred({
    "source": {
        "package": "Debian's python3-cryptography-vectors 38.0.4, by make_published_vectors.py",
        "aes_gcm": f"NIST CAVP, GCM test vectors (SP 800-38D): {GCM}",
        "hmac_sha_256": f"RFC 4231, test cases 6 and 7: {HMAC}",
        "ed25519": f"ed25519.cr.yp.to/python/sign.input, lines 1 to 24: {ED25519}",
        "ecdsa_signed": f"NIST CAVP, FIPS 186-3 ECDSA SigGen: {ECDSA_GENERATED}",
        "ecdsa_judged": f"NIST CAVP, FIPS 186-3 ECDSA SigVer: {ECDSA_VERIFIED}",
        "rsa_pss_other_salt": f"NIST CAVP, FIPS 186-3 RSASSA-PSS SigVer, salt of 10 bytes: {PSS}",
    },
    "aes_gcm": gcm(), "hmac_sha_256": hmac(), "ed25519": ed25519(),
    "ecdsa_signed": ecdsa(ECDSA_GENERATED, ("S",), 5), "ecdsa_judged": ecdsa(ECDSA_VERIFIED, ("Result",), 15),
    "rsa_pss_other_salt": pss()}), indent=1))
