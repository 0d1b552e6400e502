#!/usr/bin/env python3
"""Controls a fault module (see README.md) from Python or from a shell:

    faulty_pkcs11.py CONTROL_FOLDER set 'C_Decrypt code=CKR_DEVICE_REMOVED' 'C_Sign delay=200'
    faulty_pkcs11.py CONTROL_FOLDER clear
    faulty_pkcs11.py CONTROL_FOLDER counts          each function that was called: calls, struck, failed
    faulty_pkcs11.py CONTROL_FOLDER wrap MODULE     makes the folder for that module
"""
import os
import pathlib
import shutil
import struct
import sys
import time

FUNCTIONS = """
C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList
C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo
C_GetOperationState C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize
C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal C_EncryptInit C_Encrypt
C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest
C_DigestUpdate C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover
C_VerifyInit C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate
C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey
C_DeriveKey C_SeedRandom C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent
""".split()
HEAD, OF_FUNCTIONS, OF_RULES = 8, 128, 256  # numbers of the ledger, as in ledger.h
NUMBERS = HEAD + 3 * OF_FUNCTIONS + 2 * OF_RULES


class FaultControl:
    """The control folder of one fault module."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    @classmethod
    def beside(cls, folder, library, wrapped):
        """Copies the module `library` into `folder` with a control folder beside it, wrapping `wrapped`."""
        copy = pathlib.Path(folder) / "faulty_pkcs11.so"
        shutil.copyfile(library, copy)
        copy.chmod(0o755)
        control = cls(f"{copy}.control")
        control.wrap(wrapped)
        control.library = copy
        return control

    def wrap(self, module):
        self.folder.mkdir(mode=0o755, exist_ok=True)
        (self.folder / "module").write_text(f"{module}\n")
        ledger = self.folder / "ledger"
        if not ledger.exists():
            ledger.write_bytes(bytes(8 * NUMBERS))
            ledger.chmod(0o666)
        self.clear()

    def set(self, *rules):
        """In force from the next call on, in the place of all rules before."""
        fresh = self.folder / "rules.new"
        fresh.write_text("".join(f"{rule}\n" for rule in rules))
        fresh.chmod(0o644)
        now = time.time_ns()  # the system's own stamp is too coarse to tell two writes from each other
        os.utime(fresh, ns=(now, now))
        fresh.rename(self.folder / "rules")

    def clear(self):
        self.set()

    def _numbers(self):
        return struct.unpack(f"<{NUMBERS}Q", (self.folder / "ledger").read_bytes()[:8 * NUMBERS])

    def counts(self):
        """{function: (calls, struck, failed)} of those that were called."""
        numbers = self._numbers()
        of = {name: numbers[HEAD + 3 * i:HEAD + 3 * i + 3] for i, name in enumerate(FUNCTIONS)}
        return {name: each for name, each in of.items() if each[0]}

    def calls(self, function):
        return self.counts().get(function, (0, 0, 0))[0]

    def struck(self, rule=0):
        """How often the rule of that number struck since set()."""
        return self._numbers()[HEAD + 3 * OF_FUNCTIONS + 2 * rule + 1]

    def hanging(self):
        return self._numbers()[1]


def main(arguments):
    if len(arguments) < 2:
        sys.exit(__doc__)
    control, command, rest = FaultControl(arguments[0]), arguments[1], arguments[2:]
    if command == "set":
        control.set(*rest)
    elif command == "clear":
        control.clear()
    elif command == "wrap" and rest:
        control.wrap(rest[0])
    elif command == "counts":
        for name, (calls, struck, failed) in control.counts().items():
            print(f"{name:24} {calls:12} calls {struck:12} struck {failed:12} failed")
        print(f"{'hanging now':24} {control.hanging():12}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
