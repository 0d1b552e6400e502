#!/usr/bin/env python3
"""Fails when a file includes something its floor may not see. Run by ctest."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()

# folder -> folders, or headers, of ours it may include (a folder may always include itself). The longest
# matching folder decides, so kms/client has rules of its own.
MAY_INCLUDE = {
    "base": set(),
    "hsm": {"base"},
    "server": {"base"},
    "kms": {"base", "hsm", "server", "kms/client", "kms/tool", "kms/witness"},
    "kms/client": {"base"},
    # For any client: of server/ only what reads and proves checkpoints.
    "kms/witness": {"base", "kms/client", "server/checkpoint.h", "server/checkpoint_file.h", "server/merkle.h"},
    "kms/tool": {"base", "server", "kms/client"},
    "vault": {"base", "server", "kms/client", "kms/tool", "kms/witness", "vault/client"},
    "vault/client": {"base", "kms/client"},
    "tests": {"base", "hsm", "server", "kms", "kms/client", "kms/tool", "kms/witness", "vault", "vault/client"},
}
# heavy or foreign headers -> the only files that may include them
ONLY_IN = {
    r"httplib\.h": r"kms/client/(.*\.cpp|buffered_client\.h)|server/https_client\.cpp|tests/.*\.cpp",
    r"nlohmann/.*": r"base/json\.cpp",
    r"boost/(asio|beast).*": r"server/edge.*\.cpp|server/edge_.*\.h|tests/.*\.cpp",
    r"p11-kit/.*|pkcs11\.h": r"hsm/pkcs11_.*|hsm/.*\.cpp|tests/.*",
    r"server/edge_.*\.h": r"server/edge.*\.(h|cpp)|tests/.*",
    r"soci.*": r"server/.*database\.(h|cpp)|server/postgresql_connections\.cpp|server/sqlite_backup\.(h|cpp)|tests/.*\.cpp",
    r"libpq-fe\.h": r"server/application_table\.cpp",
    r"server/database\.h": r"server/.*\.cpp|server/.*_database\.h|server/postgresql_connections\.h|server/sqlite_backup\.h|kms/.*\.cpp|kms/sql_store_rows\.h|vault/.*\.cpp|vault/sql_rows\.h|vault/sql_rewrap_rows\.h|tests/.*",
    r"server/(sqlite_database|postgresql_database|postgresql_connections)\.h": r"server/(.*database|postgresql_.*|sqlite_backup)\.(h|cpp)",
    r"spdlog/.*": r"base/log\.cpp",
    r"prometheus/.*": r"server/metrics\.cpp",
    r"seccomp\.h": r"kms/token_worker_filter\.cpp",
    r"CLI/.*": r"server/daemon\.cpp|kms/.*\.cpp|vault/.*\.cpp|hsm/.*\.cpp|tests/.*\.cpp",
    r"regex": r"nothing",
}


def floor_of(path):
    """The longest folder of MAY_INCLUDE that holds `path`, or None."""
    best = None
    for folder in MAY_INCLUDE:
        if path.startswith(folder + "/") and (best is None or len(folder) > len(best)):
            best = folder
    return best


bad = []
files = 0
for folder in {name.split("/")[0] for name in MAY_INCLUDE}:
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix not in {".h", ".cpp"}:
            continue
        files += 1
        name = path.relative_to(ROOT).as_posix()
        here = floor_of(name)
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            if not match:
                continue
            header = match.group(1)
            there = floor_of(header)
            if there is not None and there != here and not {there, header} & MAY_INCLUDE[here]:
                bad.append(f"{name}:{number}: {here}/ may not include {there}/")
            for pattern, allowed in ONLY_IN.items():
                if re.fullmatch(pattern, header) and not re.fullmatch(allowed, name):
                    bad.append(f"{name}:{number}: <{header}> is only for {allowed}")
print("\n".join(bad) or f"layers ok, {files} files")
sys.exit(bool(bad) or files == 0)
